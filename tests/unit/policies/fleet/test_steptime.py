import numpy as np
import pytest

from policies.fleet.steptime import StepTrend


def test_it_finds_the_line_and_where_it_crosses_an_objective() -> None:
    trend = StepTrend()
    for batch in np.random.default_rng(0).integers(1, 32, 200):
        trend = trend.seen(float(batch), 0.010 + 0.0005 * batch)
    assert trend.per_request_s == pytest.approx(0.0005, rel=1e-6)
    assert trend.at(20) == pytest.approx(0.020, rel=1e-6)
    assert trend.batch_limit(0.020, most=64) == pytest.approx(20, rel=1e-3)
    assert trend.batch_limit(0.200, most=64) == 64


def test_one_batch_size_is_enough_to_be_careful() -> None:
    trend = StepTrend().seen(4, 0.02).seen(4, 0.02)
    assert trend.per_request_s == pytest.approx(0.005)
    assert StepTrend().per_request_s == 0
    assert StepTrend().at(5) == 0


def test_it_forgets() -> None:
    trend = StepTrend()
    for step_s in (0.01, 0.03):
        for _ in range(400):
            trend = trend.seen(8, step_s)
    assert trend.at(8) == pytest.approx(0.03, rel=0.01)
