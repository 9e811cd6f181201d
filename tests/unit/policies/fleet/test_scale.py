from hypothesis import given
from hypothesis import strategies as st

from policies.fleet.scale import Scale, ScaleSettings, ScaleView, scale

SETTINGS = ScaleSettings(min_replicas=1, max_replicas=8, down_after_s=30)


def view(
    at_s: float,
    replicas: int,
    batch: float,
    attainment: float | None = 1.0,
    present: float | None = None,
    waiting: float = 0.0,
) -> ScaleView:
    return ScaleView(at_s, replicas, batch, batch if present is None else present, 16, attainment, waiting)


def test_it_grows_on_the_forecast_while_attainment_is_still_whole() -> None:
    assert scale(view(0, 1, batch=40), None, SETTINGS).desired == 4  # 40 / (.75 * 16)


def test_a_miss_under_load_adds_one_and_a_miss_without_load_none() -> None:
    assert scale(view(0, 2, batch=20, attainment=0.8), None, SETTINGS).desired == 3
    assert scale(view(0, 2, batch=1, attainment=0.8), None, SETTINGS).reason == "quiet"


def test_a_miss_remembered_from_before_adds_none_to_the_one_that_is_nearly_idle() -> None:
    """After a burst attainment stays low until enough has finished well: it would bounce between one and two."""
    assert scale(view(0, 1, batch=3, attainment=0.9), None, SETTINGS).desired == 1
    assert scale(view(0, 1, batch=9, attainment=0.9), None, SETTINGS).desired == 2


def test_first_tokens_that_come_late_want_more_though_seats_are_free() -> None:
    """Prompts wait for each other's prefill: no batch is too large for a TPOT."""
    assert scale(view(0, 1, batch=3, attainment=0.9, waiting=2), None, SETTINGS).desired == 2


def test_it_shrinks_one_at_a_time_and_only_after_a_quiet_spell() -> None:
    last = scale(view(0, 4, batch=4), None, SETTINGS)
    assert last.desired == 4
    last = scale(view(29, 4, batch=4), last, SETTINGS)
    assert last.desired == 4
    last = scale(view(31, 4, batch=4), last, SETTINGS)
    assert last.desired == 3
    assert scale(view(32, 3, batch=4), last, SETTINGS).desired == 3


def test_a_busy_moment_restarts_the_quiet_spell() -> None:
    last = scale(view(0, 4, batch=4), None, SETTINGS)
    last = scale(view(20, 4, batch=40), last, SETTINGS)
    assert scale(view(31, 4, batch=4), last, SETTINGS).desired == 4


def test_a_forecast_takes_no_replica_from_requests_that_are_here() -> None:
    last = scale(view(0, 2, batch=0, present=12), None, SETTINGS)
    assert last.reason == "steady"
    assert scale(view(60, 2, batch=0, present=12), last, SETTINGS).desired == 2
    assert scale(view(60, 2, batch=0, present=1), last, SETTINGS).reason == "quiet"


@given(st.integers(0, 50), st.floats(0, 1e6), st.one_of(st.none(), st.floats(0, 1)), st.floats(0, 1e3))
def test_the_bounds_hold(replicas: int, batch: float, attainment: float | None, limit: float) -> None:
    seen = ScaleView(5.0, replicas, batch, batch, limit, attainment)
    assert 1 <= scale(seen, Scale(3, "quiet", 0.0), SETTINGS).desired <= 8
