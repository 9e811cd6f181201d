import math
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deployments.engine.requests import Columns, RequestTable


def state(**params: Any) -> Any:
    """vLLM's cached request, as far as it is read."""
    sampling = {"extra_args": None, "temperature": 0.0, "max_tokens": 16, "seed": None, **params}
    return SimpleNamespace(sampling_params=SimpleNamespace(**sampling))


def read(states: dict[str, Any], fallbacks: Counter[str] | None = None) -> Columns:
    return RequestTable(Counter() if fallbacks is None else fallbacks).columns(list(states), 0.0, states)


def test_a_request_is_read_once() -> None:
    table = RequestTable(Counter())
    states = {"a": state(extra_args={"adaspec_tpot_slo_ms": 40}, temperature=0.7, max_tokens=10)}
    table.columns(["a"], 5.0, states)
    found = table.columns(["a"], 6.0, {})
    assert (found.tpot_slo_s.tolist(), found.temperature.tolist()) == ([0.04], [0.7])
    assert (found.max_tokens.tolist(), found.first_token_at_s.tolist()) == ([10], [5.0])
    assert found.max_tokens.dtype == np.int64


def test_columns_follow_the_batch_in_its_order() -> None:
    table = RequestTable(Counter())
    states = {r: state(max_tokens=i) for i, r in enumerate("abc")}
    assert table.columns(["a", "b"], 1.0, states).max_tokens.tolist() == [0, 1]
    assert table.columns(["b", "a"], 2.0, states).max_tokens.tolist() == [1, 0]
    grown = table.columns(["b", "a", "c"], 3.0, states)
    assert grown.first_token_at_s.tolist() == [1.0, 1.0, 3.0]


def test_columns_are_the_same_while_the_batch_is_and_nobody_may_write_into_them() -> None:
    table = RequestTable(Counter())
    first = table.columns(["a"], 1.0, {"a": state()})
    assert table.columns(["a"], 2.0, {}) is first
    with pytest.raises(ValueError, match="read-only"):
        first.temperature[0] = 1.0


def test_an_unlimited_request_always_wants_more() -> None:
    assert read({"a": state(max_tokens=None)}).max_tokens.tolist() == [1 << 30]


def test_a_seeded_sample_wants_no_drafts_so_that_its_seed_repeats_it() -> None:
    assert (read({"a": state(seed=7, temperature=1.0), "b": state(seed=7)}).max_tokens > 0).tolist() == [False, True]


def test_a_finished_request_is_forgotten_and_its_id_may_come_again() -> None:
    table = RequestTable(Counter())
    table.columns(["a"], 0.0, {"a": state()})
    table.forget(["a", "never seen"])
    found = table.columns(["a"], 9.0, {"a": state(temperature=1.0)})
    assert (found.temperature.tolist(), found.first_token_at_s.tolist()) == ([1.0], [9.0])


def test_no_requests_make_empty_columns() -> None:
    assert read({}).temperature.shape == (0,)


@pytest.mark.parametrize("extra", [None, {}, {"adaspec_tpot_slo_ms": None}, {"other": 1}])
def test_without_an_objective_any_pace_will_do(extra: Any) -> None:
    assert read({"a": state(extra_args=extra)}).tpot_slo_s.tolist() == [math.inf]


@pytest.mark.parametrize("said", ["40", [40], {"tpot_slo_ms": 40}, -1, 0, math.nan])
def test_a_client_cannot_stop_the_engine_with_its_objective(said: Any, caplog: pytest.LogCaptureFixture) -> None:
    fallbacks: Counter[str] = Counter()
    found = read(dict.fromkeys("ab", state(extra_args={"adaspec_tpot_slo_ms": said})), fallbacks)
    assert found.tpot_slo_s.tolist() == [math.inf, math.inf]
    assert fallbacks == {"objective_unread": 2}
    assert len([r for r in caplog.records if "tpot_slo_ms" in r.getMessage()]) == 1
