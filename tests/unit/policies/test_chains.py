from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.chains import QUANTILES, THRESHOLDS, WORTHS, ChainMemory, Yields, surely_worth

pytestmark = pytest.mark.unit


def test_yields_equal_brute_force() -> None:
    conditional = np.random.default_rng(0).beta(2, 1, (64, 5))
    survival = np.cumprod(conditional, axis=1)
    found = Yields.of(conditional)
    for g, least in enumerate(THRESHOLDS):
        for k in range(6):
            kept = survival[:, :k] >= least
            assert found.verified[g, k] == pytest.approx(kept.sum() / 64)
            assert found.gained[g, k] == pytest.approx((survival[:, :k] * kept).sum() / 64)


def test_a_promise_is_the_mean_surplus_over_what_slots_look_like() -> None:
    found = Yields.of(np.random.default_rng(0).beta(2, 1, (64, 3)))
    promise = found.promise(0.2)
    assert found.confidence.shape == (3, QUANTILES)
    for j, prefix in ((0, 5), (2, 20)):
        surplus = WORTHS[prefix] * found.confidence[j] - 0.2
        assert promise[j, prefix] == pytest.approx(np.maximum(surplus, 0).mean())


@given(st.integers(0, 10**6), st.integers(1, 40), st.floats(0, 1), st.floats(0.01, 1.0))
def test_what_is_surely_worth_its_price_is_worth_it(seed: int, batch: int, least: float, price: float) -> None:
    rng = np.random.default_rng(seed)
    promise = Yields.of(rng.beta(2, 1, (64, 1))).promise(least)[0]
    worth = rng.beta(0.5, 0.5, batch) * rng.choice([1.0, 3.0])
    promised = float(np.interp(worth, WORTHS, promise).mean())
    if surely_worth(promise, float(worth.mean()), price):
        assert promised > price
    alike = float(np.interp(0.7, WORTHS, promise))
    assert alike == 0 or surely_worth(promise, 0.7, 0.99 * alike)


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
    start = ChainMemory(8, size=64)._top1
    assert start.mean(0) == pytest.approx(np.full(8, 0.7), abs=0.05)
    assert start.std() > 0.15


def test_it_grows_and_what_is_not_drafted_of_a_further_chain_is_an_older_ones() -> None:
    memory = ChainMemory(2, size=512)
    for _ in range(200):
        memory.add(np.array([[0.25]]))
    kept = np.array(memory.snapshot()["top1"])
    assert len(kept) == 200
    assert (kept[:, 0] == 0.25).all()
    assert set(kept[128:, 1]) <= set(kept[:128, 1])
    twin = ChainMemory(2, size=512)
    twin.restore(memory.snapshot())
    for each in (memory, twin):
        each.add(np.full((400, 2), 0.5))
    assert memory.snapshot() == twin.snapshot()
    assert len(twin.snapshot()["top1"]) == 512


def test_what_is_forgotten_makes_room_for_what_is_usual() -> None:
    memory = ChainMemory(1)
    for _ in range(200):
        memory.add(np.full((4, 1), 0.75))
    for _ in range(10):
        memory.add(np.full((64, 1), 0.25))
    assert (memory._top1 == 0.25).all()
    memory.forget(256)
    assert (memory._top1 == 0.25).mean() == pytest.approx(0.5 + 0.5 * 10 / 128, abs=0.03)
    memory.forget(10_000)
    assert (memory._top1 == 0.25).mean() == pytest.approx(10 / 128, abs=0.01)


def test_of_lone_chains_all_become_usual() -> None:
    memory = ChainMemory(1)
    for _ in range(200):
        memory.add(np.full((4, 1), 0.75))
    for _ in range(4):
        memory.add(np.full((32, 1), 0.25), lone=True)
    memory.forget(512)
    assert (memory._top1 == 0.25).all()


def test_a_memory_restored_forgets_as_its_original_does() -> None:
    memory, copy = ChainMemory(2), ChainMemory(2)
    for value in (0.2, 0.4, 0.6):
        memory.add(np.full((50, 2), value))
    copy.restore(memory.snapshot())
    for one in (memory, copy):
        one.add(np.full((1, 2), 0.9))
        one.forget(100)
    assert copy.snapshot() == memory.snapshot()
