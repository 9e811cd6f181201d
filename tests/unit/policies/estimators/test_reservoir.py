from __future__ import annotations

import numpy as np
import pytest

from policies.estimators.reservoir import Reservoir

pytestmark = pytest.mark.unit

TRUE = np.array([0.02, 0.001])


def filled(cells: int = 64, scale: float = 1.0) -> Reservoir:
    found = Reservoir(np.array([0.01, 0.002]), np.array([0.01, 0.002]), cells=cells)
    for tokens in range(1, 33):
        x = np.array([1.0, tokens])
        found.add((tokens, 0), x, scale * float(TRUE @ x))
    found.refit()
    return found


@pytest.mark.parametrize("scale", [1.0, 0.01, 100.0])
def test_finds_the_coefficients_at_any_speed(scale: float) -> None:
    assert filled(scale=scale).coefficients == pytest.approx(scale * TRUE, rel=0.05)


def test_nothing_seen_leaves_the_prior() -> None:
    found = Reservoir(np.array([0.01, 0.002]), np.array([0.01, 0.002]))
    found.refit()
    assert found.coefficients == pytest.approx([0.01, 0.002])


def test_a_single_shape_scales_the_prior_in_its_proportions() -> None:
    found = Reservoir(np.array([0.01, 0.002]), np.array([0.01, 0.002]))
    found.add((1, 0), np.array([1.0, 5.0]), 0.2)
    found.refit()
    assert found.coefficients == pytest.approx([0.1, 0.02], rel=1e-6)


def test_a_full_reservoir_forgets_the_shape_not_seen_for_longest() -> None:
    found = filled(cells=4)
    assert {a for a, _, _ in found.snapshot()["shapes"]} == {29, 30, 31, 32}


def test_an_outlier_counts_as_double_at_most() -> None:
    found = filled()
    x = np.array([1.0, 8.0])
    usual = float(TRUE @ x)
    for _ in range(5):
        found.add((8, 0), x, usual)
    found.add((8, 0), x, 1000.0)
    found.refit()
    assert float(found.coefficients @ x) == pytest.approx(usual, rel=0.1)
