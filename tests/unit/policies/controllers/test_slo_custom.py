from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.controllers.slo_custom import urgent_lengths
from policies.survival import prefix_survival
from tests.unit.policies.worlds import linear_models, make, make_view, run_step

pytestmark = pytest.mark.unit


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 40), st.integers(1, 6), st.integers(0, 10**6))
def test_phase_one_meets_every_need_the_budget_and_the_chain_permit(
    batch: int, k: int, budget: int, most: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    survival = prefix_survival(rng.random((batch, k)), np.full(batch, k))
    need = rng.uniform(-1, k + 2, batch)
    lengths = urgent_lengths(survival, need, budget, most)
    assert lengths.sum() <= budget
    wanted = urgent_lengths(survival, need, batch * k, most)
    if wanted.sum() <= budget:
        assert (lengths == wanted).all()
    for i in range(batch):
        expected = 1 + survival[i, : wanted[i]].sum()
        reachable = min(need[i], 1 + survival[i, : min(k, most)].sum())
        assert expected >= reachable - 1e-9
        if wanted[i]:  # and no slot more than needed
            assert expected - survival[i, wanted[i] - 1] < need[i]


def test_a_tight_budget_serves_the_neediest_first() -> None:
    survival = prefix_survival(np.full((3, 4), 0.5), np.full(3, 4))
    assert urgent_lengths(survival, np.array([1.4, 1.8, 0.5]), 3, 4).tolist() == [0, 3, 0]
    assert urgent_lengths(survival, np.array([1.4, 1.8, 0.5]), 4, 4).tolist() == [1, 3, 0]


def test_one_hopeless_request_cannot_take_the_whole_budget() -> None:
    survival = prefix_survival(np.full((2, 8), 0.5), np.full(2, 8))
    assert urgent_lengths(survival, np.array([100.0, 1.4]), 8, 4).tolist() == [4, 1]


def test_depth_falls_with_the_batch_and_speculation_stays_on() -> None:
    policy = make("slo_custom", linear_models(), budget_tokens=32, k=6, breadth=1)
    assert [policy.plan(make_view(batch)).k for batch in (1, 4, 8, 16, 32, 64)] == [6, 6, 3, 1, 1, 1]


def test_late_requests_come_first_and_the_rest_goes_to_the_likeliest() -> None:
    policy = make("slo_custom", linear_models(), budget_tokens=10, calibrated=False)
    confidence = np.array([[0.9] * 8, [0.4] * 8])
    calm = run_step(policy, make_view(2), confidence)
    late = make_view(2, tpot_slo_s=np.array([np.inf, 0.03]), elapsed_decode_s=np.array([0.3, 0.32]))
    hurried = run_step(policy, late, confidence)
    assert calm.lengths.sum() == hurried.lengths.sum() == 8
    assert hurried.lengths[1] > calm.lengths[1]
