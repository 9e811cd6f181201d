from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from loadgen.scenario import SHIPPED, Scenario, dump, load
from tests.unit.loadgen.scenarios import scenario

RATE = st.floats(0.01, 1000)
ARRIVALS = st.one_of(
    st.builds(lambda r: {"kind": "constant", "rps": r}, RATE),
    st.builds(lambda r, cv: {"kind": "gamma", "rps": r, "cv": cv}, RATE, st.floats(0.1, 5)),
    st.builds(lambda a, b, s: {"kind": "ramp", "rps": a, "to_rps": b, "over_s": s}, RATE, RATE, RATE),
    st.builds(lambda a, b, s: {"kind": "day", "rps": a, "peak_rps": b, "period_s": s}, RATE, RATE, RATE),
    st.builds(lambda n, r: {"kind": "closed", "clients": n, "requests": r}, st.integers(1, 99), st.integers(1, 99)),
)


@settings(max_examples=40, deadline=None)
@given(ARRIVALS, st.integers(0, 2**40), st.sampled_from(["budgets", "class", "vllm_xargs", "none"]))
def test_it_survives_yaml(tmp_path_factory: pytest.TempPathFactory, arrivals: Any, seed: int, slo: str) -> None:
    path = tmp_path_factory.mktemp("yaml") / "s.yaml"
    made = scenario(arrivals=arrivals, seed=seed, slo=slo)
    path.write_text(dump(made))
    assert load(str(path)) == made


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_scenario_is_valid_and_named_like_its_file(path: Path) -> None:
    assert load(path.stem).name == path.stem


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sedd": 1}, "sedd"),
        ({"arrivals": {"kind": "tidal"}}, "tidal"),
        ({"arrivals": {"kind": "poisson", "rps": -1}}, "greater than 0"),
        ({"classes": [{"name": "a"}, {"name": "a"}]}, "names must differ, got a, a"),
        ({"slo": "loud"}, "budgets"),
        ({"output": {"mean_tokens": 5, "min_tokens": 9, "max_tokens": 8}}, "min_tokens: 9 is above max_tokens, 8"),
        ({"arrivals": {"kind": "poisson", "rps": float("inf")}}, "finite"),
        ({"duration_s": float("inf")}, "finite"),
        ({"arrivals": {"kind": "day", "rps": 1, "peak_rps": 2, "period_s": 9, "hourly": [0, -3]}}, "or equal to 0"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        scenario(**changes)


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(ValueError, match="steady"):
        load("unheard-of")


@settings(deadline=None)
@given(st.floats(0.1, 10))
def test_scaling_changes_every_rate_and_nothing_else(factor: float) -> None:
    base = scenario(arrivals={"kind": "spike", "rps": 2, "peak_rps": 9, "every_s": 5, "for_s": 1})
    arrivals: Any = base.scaled(factor).arrivals
    assert (arrivals.rps, arrivals.peak_rps) == pytest.approx((2 * factor, 9 * factor))
    assert base.scaled(factor).model_copy(update={"arrivals": base.arrivals}) == base
    replay: Any = scenario(arrivals={"kind": "replay", "path": "x.csv"}).scaled(factor).arrivals
    assert replay.speed == pytest.approx(factor)
    with pytest.raises(ValueError, match="closed loop has no rate"):
        scenario(arrivals={"kind": "closed", "clients": 1, "requests": 1}).scaled(factor)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(Scenario.model_fields)), st.integers() | st.text() | st.none(), max_size=3)
)
def test_anything_validates_or_raises_cleanly(changes: dict[str, Any]) -> None:
    with suppress(ValidationError):
        assert scenario(**changes).duration_s > 0
