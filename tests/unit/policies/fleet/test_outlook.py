import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.fleet.outlook import Arrivals, OutlookSettings, ReplicaLoad, observed, outlook

SETTINGS = OutlookSettings()
DT = 0.25


def seen(rates: list[float], seed: int = 0) -> Arrivals:
    """The state after Poisson counts of these rates, one an exchange."""
    rng, state = np.random.default_rng(seed), Arrivals(at_s=0.0)
    for i, rate in enumerate(rates):
        state = observed(state, int(rng.poisson(rate * DT)), (i + 1) * DT, SETTINGS)
    return state


def test_a_steady_rate_is_found() -> None:
    assert np.mean([seen([20.0] * 80, seed).forecast_rps(1.0) for seed in range(20)]) == pytest.approx(20, rel=0.1)


def test_a_step_is_seen_within_a_second() -> None:
    before = [seen([4.0] * 40, seed).forecast_rps(1.0) for seed in range(20)]
    after = [seen([4.0] * 40 + [64.0] * 4, seed).forecast_rps(1.0) for seed in range(20)]
    assert max(before) < 12
    assert np.mean(after) == pytest.approx(64, rel=0.15)


def test_a_ramp_is_extrapolated() -> None:
    state = Arrivals(at_s=0.0)
    for i in range(80):
        state = observed(state, round((40 + i) * DT * 4), (i + 1) * DT, SETTINGS)
    assert state.slope_rps2 > 5
    assert state.forecast_rps(2.0) > state.level_rps


def test_the_batch_follows_arrivals_and_the_queue() -> None:
    load = ReplicaLoad(batch=4, waiting=0, share=0.5, residence_s=2.0, seats=64)
    calm = outlook(Arrivals(0.0, 4.0), load, 100, {}, SETTINGS)
    rush = outlook(Arrivals(0.0, 64.0), load, 100, {"a": 0.9}, SETTINGS)
    assert calm.expected_batch_p50 == pytest.approx(4, rel=0.01)  # 2 requests/s a replica, staying 2 s: at rest
    assert rush.expected_batch_p50 == pytest.approx(4 * np.exp(-0.5) + 64 * (1 - np.exp(-0.5)))
    assert rush.expected_batch_p90 > rush.expected_batch_p50
    assert rush.expected_prefill_tokens == 3200
    assert rush.attainment == {"a": 0.9}
    queued = outlook(Arrivals(0.0, 4.0), ReplicaLoad(4, 20, 0.5, 2.0, 64), 100, {}, SETTINGS)
    assert queued.expected_batch_p50 > calm.expected_batch_p50 + 10


@given(
    level=st.floats(0, 1e4),
    slope=st.floats(-1e4, 1e4),
    count=st.integers(0, 10**5),
    batch=st.integers(0, 512),
    waiting=st.integers(0, 512),
    residence_s=st.floats(0, 1e3),
)
def test_every_outlook_is_valid(
    level: float, slope: float, count: int, batch: int, waiting: int, residence_s: float
) -> None:
    state = observed(Arrivals(0.0, level, slope), count, DT, SETTINGS)
    made = outlook(state, ReplicaLoad(batch, waiting, 0.3, residence_s, 256), 128, {}, SETTINGS)
    assert 0 <= made.expected_batch_p50 <= made.expected_batch_p90 <= 256


def test_nobody_is_taken_to_leave_while_nothing_has_finished() -> None:
    load = ReplicaLoad(batch=2, waiting=6, share=1.0, residence_s=0.0, seats=64)
    still = outlook(Arrivals(at_s=0.0), load, 0.0, {}, SETTINGS)
    assert (still.expected_batch_p50, still.expected_batch_p90) == (8.0, 8.0)
    coming = outlook(Arrivals(at_s=0.0, level_rps=4.0, samples=9), load, 0.0, {}, SETTINGS)
    assert coming.expected_batch_p50 == 8.0 + 4.0 * SETTINGS.horizon_s


def test_no_time_no_news() -> None:
    state = Arrivals(3.0, 5.0)
    assert observed(state, 9, 3.0, SETTINGS) is state
