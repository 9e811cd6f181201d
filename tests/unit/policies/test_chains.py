from __future__ import annotations

import numpy as np
import pytest

from policies.chains import NUDGE, QUANTILES, THRESHOLDS, WORTHS, ChainMemory, Yields

pytestmark = pytest.mark.unit


def test_yields_equal_brute_force() -> None:
    conditional = np.random.default_rng(0).beta(2, 1, (64, 5))
    survival = np.cumprod(conditional, axis=1)
    found = Yields.of(conditional)
    for g, least in enumerate(THRESHOLDS):
        for k in range(6):
            kept = survival[:, :k] >= least
            assert found.verified[0, g, k] == pytest.approx(kept.sum() / 64)
            assert found.gained[g, k] == pytest.approx((survival[:, :k] * kept).sum() / 64)
    assert found.verified[1] == pytest.approx(found.verified[0] + NUDGE)


def test_a_promise_is_the_mean_surplus_over_what_slots_look_like() -> None:
    found = Yields.of(np.random.default_rng(0).beta(2, 1, (64, 3)))
    promise = found.promise(0.2)
    assert found.confidence.shape == (3, QUANTILES)
    for j, prefix in ((0, 5), (2, 20)):
        surplus = WORTHS[prefix] * found.confidence[j] - 0.2
        assert promise[j, prefix] == pytest.approx(np.maximum(surplus, 0).mean())


def test_memory_keeps_the_latest_chains_and_older_slots_where_drafts_were_short() -> None:
    memory = ChainMemory(3, size=4)
    memory.add(np.full((4, 3), 0.2))
    memory.add(np.full((2, 1), 0.9))
    assert memory._top1.tolist() == [[0.9, 0.2, 0.2]] * 2 + [[0.2, 0.2, 0.2]] * 2


def test_of_a_large_batch_it_keeps_an_even_sample() -> None:
    memory = ChainMemory(1, size=4)
    memory.add(np.linspace(0, 1, 9)[:, None])
    assert memory._top1.max() >= 0.75


def test_it_starts_from_a_spread_around_its_mean() -> None:
    start = ChainMemory(8)._top1
    assert start.mean(0) == pytest.approx(np.full(8, 0.7), abs=0.05)
    assert start.std() > 0.15
