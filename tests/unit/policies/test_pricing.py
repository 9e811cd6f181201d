from __future__ import annotations

import itertools

import numpy as np
import pytest

from policies.chains import THRESHOLDS, Yields
from policies.models import StepLoad
from policies.pricing import price
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
