from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from loadgen.sim.scenario import Scenario, load
from loadgen.sim.workload import draw
from tests.unit.loadgen.sim.scenarios import scenario


def test_it_survives_yaml(tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(scenario().model_dump(mode="json")))
    assert load(path) == scenario()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"cost": "abacus"}, "abacus"),
        ({"sedd": 1}, "sedd"),
        ({"engine": {"kv_tokens": 10}}, "engine.kv_tokens: 10"),
        ({"engine": {"k_max": 5, "kv_tokens": 287}}, "287 cannot hold one request of 285 tokens in blocks of 16"),
        ({"fleet": {"start_s": 0}}, "start_s"),
        ({"engine": {"seats": 64, "token_budget": 64}}, "token_budget: 64"),
        ({"arrivals": {"kind": "tidal"}}, "tidal"),
        ({"domains": [{"name": "d", "acceptance": 1.2}]}, "acceptance"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        scenario(**changes)


def test_no_arrivals_is_an_error_with_a_way_out() -> None:
    with pytest.raises(ValueError, match=r"duration_s = 0\.001"):
        draw(scenario(duration_s=0.001, arrivals={"kind": "poisson", "rps": 0.001}))


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(Scenario.model_fields)), st.integers() | st.text() | st.none(), max_size=3)
)
def test_anything_validates_or_raises_cleanly(changes: dict[str, Any]) -> None:
    with suppress(ValidationError):
        assert scenario(**changes).truth.seats > 0
