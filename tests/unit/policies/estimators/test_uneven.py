from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.estimators.uneven import CENTRES, Uneven, cell

pytestmark = pytest.mark.unit


def learned(sizes: dict[int, float], seen: float = 20.0) -> Uneven:
    """From passes of each size that took so many times as long as the curve says, seen so often."""
    uneven = Uneven()
    cells = np.array([cell(tokens) for tokens in sizes], np.int64)
    uneven.learn(cells, np.log(list(sizes.values())), np.full(len(sizes), seen))
    return uneven


def test_a_size_off_the_curve_is_noticed_and_its_neighbours_are_not() -> None:
    uneven = learned({1: 1.0, 2: 1.4, 4: 1.0, 8: 1.01})
    assert uneven.known
    assert uneven.ratio([1, 3, 4, 8, 500]).tolist() == [1.0] * 5
    assert 1.3 < float(uneven.ratio(2)) < 1.4
    assert list(uneven.explain()) == [2]


def test_an_expected_number_of_tokens_lies_between_its_neighbours() -> None:
    uneven = learned({2: 1.4})
    assert float(uneven.ratio(1.5)) == pytest.approx((1 + float(uneven.ratio(2))) / 2)


def test_one_step_is_not_believed() -> None:
    assert not learned({2: 1.2}, seen=1).known
    assert learned({2: 1.2}).known


def test_what_was_off_once_is_forgotten_with_its_steps() -> None:
    uneven = learned({2: 1.4})
    uneven.learn(np.array([cell(2)]), np.array([0.0]), np.array([20.0]))
    assert not uneven.known
    assert uneven.ratio(2) == 1.0


@given(st.lists(st.integers(1, 10**6), max_size=30), st.integers(0, 2**32 - 1))
def test_any_pass_has_a_finite_ratio(sizes: list[int], seed: int) -> None:
    rng, uneven = np.random.default_rng(seed), Uneven()
    cells = np.array([cell(tokens) for tokens in sizes], np.int64)
    uneven.learn(cells, rng.normal(0, 1, len(sizes)), rng.random(len(sizes)))
    ratio = uneven.ratio(np.geomspace(1, 1e7, 100))
    assert np.isfinite(ratio).all()
    assert (ratio > 0).all()


def test_up_to_eight_tokens_every_size_has_a_cell_of_its_own() -> None:
    assert CENTRES[:7].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert CENTRES[7] == 8.5
    assert (np.diff(CENTRES) > 0).all()
