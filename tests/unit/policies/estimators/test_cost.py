from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.estimators.cost import LinearCoefficients, LinearCost
from policies.models import StepLoad

pytestmark = pytest.mark.unit


def test_the_formula_by_hand() -> None:
    cost = LinearCost(
        LinearCoefficients(
            target_alpha_s=1e-6,
            target_gamma_s=1e-3,
            target_delta_s=20e-3,
            request_s=1e-4,
            verify_start_s=5e-4,
            row_s=2e-4,
            draft_alpha_s=1e-7,
            draft_gamma_s=1e-5,
            draft_delta_s=1e-3,
            draft_start_s=2e-3,
            catch_up_s=1e-5,
            overhead_s=3e-3,
        )
    )
    load = StepLoad(batch=4, context_tokens=1000, prefill_tokens=10, lag_tokens=50)
    plain = 3e-3 + 20e-3 + 1e-3 + 4e-4 + 14e-3 + 8e-4
    drafting = 2 * (1e-4 + 4e-5 + 1e-3) + 2e-3 + 5e-4
    assert cost.step_s(load, 0, 0) == pytest.approx(plain)
    assert cost.step_s(load, 2, 8) == pytest.approx(plain + 5e-4 + 8e-3 + 16e-4 + drafting)
    assert cost.step_s(load, 2, 0) == pytest.approx(plain + drafting)


@given(st.integers(1, 64), st.integers(0, 8), st.integers(0, 500))
def test_arrays_broadcast(batch: int, k: int, n: int) -> None:
    cost, load = LinearCost(), StepLoad(batch, 100 * batch)
    grid = cost.step_s(load, np.arange(k + 1)[:, None], np.arange(n + 1))
    assert grid.shape == (k + 1, n + 1)
    assert grid[k, n] == pytest.approx(float(cost.step_s(load, k, n)))
