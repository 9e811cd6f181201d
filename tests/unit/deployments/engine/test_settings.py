from typing import Any

import pytest

from deployments.engine.settings import EngineSettings


@pytest.mark.parametrize("config", [None, {}, {"another": 1}, {"adaspec": {}}])
def test_without_settings_the_engine_does_not_speculate(config: Any) -> None:
    assert EngineSettings.of(config) == EngineSettings()
    assert EngineSettings().policy.name == "off"


def test_what_is_given_is_taken() -> None:
    given = {"policy": {"name": "fixed", "params": {"k": 2}}, "soft_limit_ms": 5, "seed": 3, "catch_up": False}
    settings = EngineSettings.of({"adaspec": given})
    assert (settings.policy.name, settings.policy.params) == ("fixed", {"k": 2})
    assert (settings.soft_limit_ms, settings.seed, settings.catch_up) == (5.0, 3, False)


@pytest.mark.parametrize(
    ("given", "field", "value", "fix"),
    [
        ({"soft_limit_ms": 0}, "adaspec.soft_limit_ms", "0", "greater than 0"),
        ({"hard_limit_ms": "soon"}, "adaspec.hard_limit_ms", "'soon'", "valid number"),
        ({"seed": -1}, "adaspec.seed", "-1", "greater than or equal to 0"),
        ({"polcy": "fixed"}, "adaspec.polcy", "'fixed'", "not permitted"),
        ({"policy": {"params": {}}}, "adaspec.policy.name", "{'params': {}}", "required"),
        ({"policy": "fixed"}, "adaspec.policy", "'fixed'", "dictionary"),
        (None, "additional_config.adaspec", "None", "dictionary"),
    ],
)
def test_an_error_names_field_value_and_fix(given: Any, field: str, value: str, fix: str) -> None:
    with pytest.raises(ValueError, match="additional_config") as error:
        EngineSettings.of({"adaspec": given})
    assert field in str(error.value)
    assert value in str(error.value)
    assert fix in str(error.value)


def test_every_error_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="soft_limit_ms") as error:
        EngineSettings.of({"adaspec": {"soft_limit_ms": -1, "seed": -1}})
    assert "seed" in str(error.value)
