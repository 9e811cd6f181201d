import numpy as np
import pytest

from loadgen.sim.arrivals import Constant, Day, Gamma, Poisson, Ramp, Spike, Step, times
from loadgen.sim.rng import generator


@pytest.mark.parametrize("arrivals", [Poisson(rps=50), Gamma(rps=50, cv=3)])
def test_rate_and_burstiness(arrivals: Poisson | Gamma) -> None:
    at = times(arrivals, 400, generator(0, "a"))
    gaps = np.diff(at)
    assert len(at) / 400 == pytest.approx(50, rel=0.08)
    assert gaps.std() / gaps.mean() == pytest.approx(arrivals.cv, rel=0.12)


def test_a_step_and_spikes_change_the_rate_where_they_should() -> None:
    at = times(Step(rps=5, to_rps=100, at_s=50), 100, generator(0, "a"))
    assert np.sum(at < 50) == pytest.approx(250, rel=0.3)
    assert np.sum(at >= 50) == pytest.approx(5000, rel=0.1)
    at = times(Spike(rps=2, peak_rps=200, every_s=50, for_s=5), 100, generator(0, "a"))
    inside = ((at >= 25) & (at < 30)) | ((at >= 75) & (at < 80))
    assert inside.sum() == pytest.approx(2000, rel=0.1)
    assert (~inside).sum() < 300


def test_a_day_has_a_quiet_night() -> None:
    at = times(Day(rps=1, peak_rps=100, period_s=240), 240, generator(0, "a"))
    assert np.sum(at < 40) < 0.1 * np.sum((at > 80) & (at < 120))


def test_times_are_sorted_within_the_duration_and_do_not_depend_on_it() -> None:
    short, long = (times(Poisson(rps=20), until_s, generator(3, "a")) for until_s in (10.0, 10.0))
    assert np.array_equal(short, long)
    assert (np.diff(short) >= 0).all()
    assert short[-1] < 10


def test_regular_gaps_and_a_ramp() -> None:
    assert np.allclose(np.diff(times(Constant(rps=8), 10, generator(0, "a"))), 1 / 8)
    at = times(Ramp(rps=1, to_rps=99, over_s=100), 100, generator(0, "a"))
    assert np.sum(at < 50) == pytest.approx(1275, rel=0.15)
    assert np.sum(at >= 50) == pytest.approx(3725, rel=0.1)
