from __future__ import annotations

import itertools

import numpy as np
import pytest

from policies.chains import THRESHOLDS, ChainMemory, Yields
from policies.models import StepLoad
from policies.pricing import price
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
    found = price(cost, load, Yields.of(conditional), 5)
    assert found.rate == pytest.approx(best)
    assert found.plain_rate == pytest.approx(rate(0, 2.0))
    assert found.token_s == pytest.approx(float(cost.step_s(load, 1, 1) - cost.step_s(load, 1, 0)))
    assert found.pass_s == pytest.approx(
        [float(cost.step_s(load, k + 1, 0) - cost.step_s(load, k, 0)) for k in range(5)]
    )


def test_memory_keeps_the_latest_chains_and_older_slots_where_drafts_were_short() -> None:
    memory = ChainMemory(3, size=4)
    memory.add(np.full((4, 3), 0.2))
    memory.add(np.full((2, 1), 0.9))
    assert memory._top1.tolist() == [[0.9, 0.2, 0.2]] * 2 + [[0.2, 0.2, 0.2]] * 2


def test_of_a_large_batch_it_keeps_an_even_sample() -> None:
    memory = ChainMemory(1, size=4)
    memory.add(np.linspace(0, 1, 9)[:, None])
    assert sorted(memory._top1[:, 0]) != sorted(np.linspace(0, 1, 9)[:4])
    assert memory._top1.max() >= 0.75


def test_it_starts_from_a_spread_around_its_mean() -> None:
    start = ChainMemory(8)._top1
    assert start.mean(0) == pytest.approx(np.full(8, 0.7), abs=0.05)
    assert start.std() > 0.15
