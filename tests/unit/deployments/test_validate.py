from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments import preflight
from deployments.validate import check, main

ROOT = Path(__file__).parents[3]
SHIPPED = ["serve_config.yaml", "serve_config.gpu.yaml"]


def shipped(name: str = SHIPPED[0]) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.fixture
def models_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "problems", lambda *_, **__: [])


@pytest.mark.usefixtures("models_are_there")
@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_files_are_valid(name: str) -> None:
    assert check(shipped(name)) == []


@pytest.mark.usefixtures("models_are_there")
@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_files_ask_for_no_more_than_two_cores(name: str) -> None:
    shares = [d["ray_actor_options"]["num_cpus"] for d in shipped(name)["applications"][0]["deployments"]]
    assert sum(shares) <= (2 if name == SHIPPED[0] else 8)


@pytest.mark.usefixtures("models_are_there")
@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ((), {"http_optionz": {}}, "http_optionz"),
        (("http_options",), {"prt": 1}, "http_options.prt"),
        (("applications", 0), {"route": "/"}, "applications.0.route"),
        (("applications", 0, "args"), {"motor": {}}, "applications.0.args.motor"),
        (("applications", 0, "args", "engine"), {"k_max": 99}, "applications.0.args.engine.k_max"),
        (
            ("applications", 0, "args", "engine"),
            {"safe_policy": {"name": "x"}},
            "applications.0.args.engine.safe_policy.name",
        ),
        (("applications", 0, "deployments", 0), {"name": "Ingres"}, "applications.0.deployments.0.name"),
        (("applications", 0, "deployments", 1), {"num_replica": 2}, "applications.0.deployments.1.num_replica"),
        (
            ("applications", 0, "deployments", 2),
            {"user_config": {"polcy": {}}},
            "applications.0.deployments.2.user_config.polcy",
        ),
        (
            ("applications", 0, "deployments", 2),
            {"user_config": {"policy": {"name": "fixed", "params": {"k": "x"}}}},
            "applications.0.deployments.2.user_config.policy.params.k",
        ),
    ],
)
def test_each_kind_of_mistake_is_named(path: tuple[Any, ...], value: dict[str, Any], field: str) -> None:
    raw = shipped()
    at = raw
    for step in path:
        at = at[step]
    at.update(value)
    assert field in [problem.field for problem in check(raw)]


@pytest.mark.usefixtures("models_are_there")
def test_seats_kept_for_classes_leave_some_for_the_others() -> None:
    raw = shipped()
    raw["applications"][0]["deployments"][0]["user_config"]["classes"][0]["reserved_slots"] = 32
    (problem,) = check(raw)
    assert problem.field == "applications.0.deployments.0.user_config.classes.reserved_slots"
    assert "max_num_seqs (32)" in problem.fix


def test_the_command_says_valid_or_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake = tmp_path / "fake.yaml"
    raw = shipped()
    raw["applications"][0]["args"] = {"engine": {"kind": "fake"}}
    fake.write_text(yaml.safe_dump(raw))
    assert main([str(fake)]) == 0
    fake.write_text(": {")
    assert main([str(fake)]) == 1
    assert main([str(tmp_path / "missing.yaml")]) == 1
    assert main([]) == 2
    assert "valid" in capsys.readouterr().out


@pytest.mark.usefixtures("models_are_there")
def test_a_policy_that_drafts_wants_a_draft() -> None:
    """Every replica would refuse the whole of its `user_config`, from the start on."""
    raw = shipped()
    raw["applications"][0]["args"]["engine"]["draft"] = None
    (problem,) = check(raw)
    assert problem.field.endswith("user_config.policy.name")
    assert "needs a draft model" in problem.fix
    raw["applications"][0]["deployments"][-1]["user_config"]["policy"] = {"name": "off"}
    assert check(raw) == []
