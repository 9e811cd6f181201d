import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.fleet.predict import predict
from policies.fleet.route import RouteSettings, route
from policies.fleet.views import RequestView
from tests.unit.policies.fleet.fleets import fleet

SETTINGS = RouteSettings(tie_slack=0.0)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20_000)), min_size=1, max_size=8), st.floats(0.02, 5))
def test_the_chosen_replica_has_the_largest_slack(loads: list[tuple[int, int]], ttft_slo_s: float) -> None:
    batch, backlog = zip(*loads, strict=True)
    view = fleet(len(loads), batch=batch, backlog_tokens=backlog)
    chosen = route(view, RequestView(100, ttft_slo_s, 0.02), SETTINGS)
    assert chosen.slack == chosen.prediction.slack.max()


def test_what_was_sent_since_the_report_counts() -> None:
    view = fleet(2, batch=(4, 4), sent=(3, 0), sent_tokens=(900, 0))
    assert route(view, RequestView(100, 1.0, 0.02), SETTINGS).index == 1


def test_a_strict_class_goes_where_its_objective_holds_and_prefixes_break_ties_only() -> None:
    long_queue_small_batch = fleet(2, batch=(2, 20), backlog_tokens=(900, 0))
    tight_tpot, tight_ttft = RequestView(10, 10.0, 0.02), RequestView(10, 0.5, 1.0)
    assert route(long_queue_small_batch, tight_tpot, SETTINGS).index == 0
    assert route(long_queue_small_batch, tight_ttft, SETTINGS).index == 1
    equal, cached = fleet(2), np.array([0.0, 64.0])
    assert route(equal, RequestView(100, 1.0, 0.1, prefix_tokens=cached), RouteSettings(tie_slack=0.2)).index == 1
    busy = fleet(2, batch=(0, 30), step_s=(0.01, 0.04))
    assert route(busy, RequestView(100, 1.0, 0.03, prefix_tokens=cached), RouteSettings(tie_slack=0.2)).index == 0


def test_a_cached_prefix_is_not_worth_a_crowd() -> None:
    cached = RequestView(100, prefix_tokens=np.array([0.0, 64.0]))
    assert route(fleet(2, batch=(0, 4)), cached, SETTINGS).index == 1
    assert route(fleet(2, batch=(0, 5)), cached, SETTINGS).index == 0


def test_without_objectives_the_emptiest_is_taken() -> None:
    assert route(fleet(3, batch=(5, 2, 9)), RequestView(100), SETTINGS).index == 1


def test_an_old_report_is_used_only_when_all_are_old() -> None:
    request = RequestView(10, 1.0, 0.1)
    assert route(fleet(2, batch=(0, 9), age_s=(9.0, 0.1)), request, SETTINGS).index == 1
    assert route(fleet(2, batch=(0, 9), age_s=9.0), request, SETTINGS).index == 0


def test_an_empty_fleet_is_an_error() -> None:
    with pytest.raises(ValueError, match="no replica"):
        route(fleet(0), RequestView(1), SETTINGS)


@given(st.integers(0, 40), st.integers(1, 40))
def test_more_load_never_predicts_less_time(batch: int, more: int) -> None:
    view = fleet(2, batch=(batch, batch), sent=(0, more), sent_tokens=(0, 10 * more))
    seen = predict(view, RequestView(50, 1.0, 0.02))
    assert seen.ttft_s[1] > seen.ttft_s[0]
    assert seen.tpot_s[1] > seen.tpot_s[0]
