from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.survival import Ranking, prefix_survival

pytestmark = pytest.mark.unit


def chains(batch: int, k: int, seed: int, levels: list[float] | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    conditional = rng.choice(levels, (batch, k)) if levels else rng.random((batch, k))
    return prefix_survival(conditional, np.full(batch, k))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6), st.sampled_from([None, [0.0, 0.5, 1.0]]))
def test_largest_slots_equal_brute_force(batch: int, k: int, seed: int, levels: list[float] | None) -> None:
    survival = chains(batch, k, seed, levels)
    value = dict.fromkeys(range(batch * k + 1), 0.0)
    for lengths in itertools.product(range(k + 1), repeat=batch):
        total = sum(survival[i, :length].sum() for i, length in enumerate(lengths))
        value[sum(lengths)] = max(value[sum(lengths)], total)
    ranking = Ranking(survival)
    totals = ranking.totals()
    for n, best in value.items():
        chosen = ranking.lengths(n)
        assert chosen.sum() == n
        assert sum(survival[i, :length].sum() for i, length in enumerate(chosen)) == pytest.approx(best)
        assert totals[n] == pytest.approx(best)


def test_the_published_elimination_example() -> None:
    survival = np.array([[0.95, 0.90, 0.30], [0.60, 0.40, 0.32]])
    assert Ranking(survival).lengths(3).tolist() == [2, 1]  # the released loop gives [0, 3]


def test_slots_over_the_limit_survive_with_probability_zero() -> None:
    survival = prefix_survival(np.full((2, 3), 0.5), np.array([1, 3]))
    assert survival.tolist() == [[0.5, 0.0, 0.0], [0.5, 0.25, 0.125]]
