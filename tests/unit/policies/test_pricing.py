from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.chains import THRESHOLDS, Yields
from policies.models import StepLoad
from policies.pricing import humps, price
from policies.prompts import Prompts
from tests.unit.policies.worlds import linear_models

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("seed", range(20))
def test_the_price_equals_brute_force_over_lengths_and_thresholds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    conditional = rng.beta(2, 1, (64, 5))
    cost = linear_models(target_gamma_s=float(rng.choice([1e-5, 1e-3, 1e-2]))).cost
    load = StepLoad(int(rng.integers(1, 64)), 1000)
    survival = np.cumprod(conditional, axis=1)

    def rate(k: int, least: float) -> float:
        kept = survival[:, :k] >= least
        tokens = load.batch * (1 + (survival[:, :k] * kept).sum() / 64)
        return float(tokens / cost.step_s(load, k, load.batch * kept.sum() / 64))

    best = max(rate(k, least) for k, least in itertools.product(range(1, 6), THRESHOLDS))
    found = price(cost, load, Yields.of(conditional), 5, Prompts())
    assert found.rate == pytest.approx(best)
    assert found.plain_rate == pytest.approx(rate(0, 2.0))
    assert found.least == pytest.approx(best * float(cost.step_s(load, 1, 1) - cost.step_s(load, 1, 0)))
    passes_s = [float(cost.step_s(load, k + 1, 0) - cost.step_s(load, k, 0)) for k in range(5)]
    assert found.pass_price == pytest.approx([best * pass_s for pass_s in passes_s])


def test_a_slow_size_on_the_way_makes_stopping_there_dear() -> None:
    lost_s = humps(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.087, 0.105, 0.076, 0.075]))
    assert lost_s == pytest.approx([0.0, 0.022, 0.0, 0.0])


@given(st.lists(st.floats(0, 10), min_size=1, max_size=9), st.lists(st.floats(0, 1), min_size=9, max_size=9))
def test_a_convex_cost_has_no_humps(steps: list[float], slopes: list[float]) -> None:
    verified = np.append(0.0, np.cumsum(steps))
    step_s = np.append(0.0, np.cumsum(np.array(steps) * np.sort(slopes)[: len(steps)]))
    assert humps(verified, step_s) == pytest.approx(np.zeros(len(verified)), abs=1e-9)
