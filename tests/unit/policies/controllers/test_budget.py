from __future__ import annotations

import numpy as np
import pytest

from tests.unit.policies.worlds import linear_models, make, make_view, run_step

pytestmark = pytest.mark.unit

CONFIDENCE = np.array([[0.9] * 8, [0.5] * 8])


def test_tetris_spends_its_capacity_on_the_likeliest_slots() -> None:
    policy = make("budget", linear_models(), capacity_tokens=7, calibrated=False, k=8)
    assert run_step(policy, make_view(2), CONFIDENCE).lengths.tolist() == [6, 1]  # .9 .. .53 | .5


def test_dspark_takes_its_budget_from_the_step_before() -> None:
    policy = make("budget", linear_models(target_gamma_s=5e-3))
    first, second = (run_step(policy, make_view(2), CONFIDENCE) for _ in range(2))
    assert first.lengths.tolist() == [5, 5]  # nothing known yet: verify all
    assert 0 < second.lengths.sum() < 10
    assert second.plan.cut is not None
    assert second.plan.cut.budget_tokens == second.lengths.sum()


def test_the_budget_grows_with_the_batch() -> None:
    policy = make("budget", linear_models(target_gamma_s=5e-3))
    run_step(policy, make_view(2), CONFIDENCE)
    small = policy.plan(make_view(2)).cut.budget_tokens
    assert policy.plan(make_view(8)).cut.budget_tokens == 4 * small


def test_slots_over_a_limit_are_not_paid_for() -> None:
    policy = make("budget", linear_models(), capacity_tokens=8, calibrated=False)
    view = make_view(2, k_limit=np.array([1, 8]))
    assert run_step(policy, view, CONFIDENCE).lengths.tolist() == [1, 5]
