import math
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deployments.engine.requests import RequestTable, columns


def state(outputs: int = 0, **params: Any) -> Any:
    """vLLM's cached request, as far as it is read."""
    sampling = {"extra_args": None, "temperature": 0.0, "max_tokens": 16, "seed": None, **params}
    return SimpleNamespace(sampling_params=SimpleNamespace(**sampling), output_token_ids=[0] * outputs)


def test_a_request_is_read_once_and_its_tokens_are_counted() -> None:
    table = RequestTable(Counter())
    states = {"a": state(extra_args={"adaspec_tpot_slo_ms": 40}, temperature=0.7, max_tokens=10)}
    table.advance(["a"], np.array([1]), 5.0, states)
    rows = table.advance(["a"], np.array([3]), 5.5, {})
    elapsed, slo, temperature, emitted, wanted = columns(rows, 6.0)
    assert elapsed.tolist() == [1.0]
    assert slo.tolist() == [0.04]
    assert temperature.tolist() == [0.7]
    assert (emitted.tolist(), wanted.tolist()) == ([4], [6])
    assert emitted.dtype == wanted.dtype == np.int64


def test_tokens_from_before_the_worker_knew_the_request_count() -> None:
    (row,) = RequestTable(Counter()).advance(["a"], np.array([1]), 0.0, {"a": state(outputs=5)})
    assert row.emitted == 6


def test_an_unlimited_request_always_wants_more() -> None:
    rows = RequestTable(Counter()).advance(["a"], np.array([1]), 0.0, {"a": state(max_tokens=None)})
    assert columns(rows, 0.0)[4].tolist() == [(1 << 30) - 1]


def test_a_seeded_sample_wants_no_drafts_so_that_its_seed_repeats_it() -> None:
    states = {"a": state(seed=7, temperature=1.0), "b": state(seed=7)}
    rows = RequestTable(Counter()).advance(["a", "b"], np.array([1, 1]), 0.0, states)
    assert (columns(rows, 0.0)[4] > 0).tolist() == [False, True]


def test_a_finished_request_is_forgotten_and_its_id_may_come_again() -> None:
    table = RequestTable(Counter())
    table.advance(["a"], np.array([1]), 0.0, {"a": state()})
    table.forget(["a", "never seen"])
    (row,) = table.advance(["a"], np.array([1]), 9.0, {"a": state(temperature=1.0)})
    assert (row.temperature, row.first_token_at_s, row.emitted) == (1.0, 9.0, 1)


def test_no_requests_make_empty_columns() -> None:
    assert [column.shape for column in columns([], 0.0)] == [(0,)] * 5


@pytest.mark.parametrize("extra", [None, {}, {"adaspec_tpot_slo_ms": None}, {"other": 1}])
def test_without_an_objective_any_pace_will_do(extra: Any) -> None:
    (row,) = RequestTable(Counter()).advance(["a"], np.array([1]), 0.0, {"a": state(extra_args=extra)})
    assert row.tpot_slo_s == math.inf


@pytest.mark.parametrize("said", ["40", [40], {"tpot_slo_ms": 40}, -1, 0, math.nan])
def test_a_client_cannot_stop_the_engine_with_its_objective(said: Any, caplog: pytest.LogCaptureFixture) -> None:
    fallbacks: Counter[str] = Counter()
    states = dict.fromkeys("ab", state(extra_args={"adaspec_tpot_slo_ms": said}))
    rows = RequestTable(fallbacks).advance(["a", "b"], np.array([1, 1]), 0.0, states)
    assert [row.tpot_slo_s for row in rows] == [math.inf, math.inf]
    assert fallbacks == {"objective_unread": 2}
    assert len([r for r in caplog.records if "tpot_slo_ms" in r.getMessage()]) == 1
