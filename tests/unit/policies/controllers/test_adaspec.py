from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.api import DraftBundle
from policies.models import StepLoad
from tests.unit.policies.worlds import features_of, linear_models, make, make_view, run_step

pytestmark = pytest.mark.unit

CHEAP = {"target_gamma_s": 1e-5, "draft_delta_s": 1e-4}


def drafted(confidence: float, batch: int = 4, /, **coefficients: float) -> int:
    policy = make("adaspec", linear_models(**coefficients), prior_confidence=confidence)
    return run_step(policy, make_view(batch), np.full((batch, 8), confidence)).k


def test_drafts_all_when_verifying_is_cheap_and_the_draft_is_sure() -> None:
    assert drafted(0.97, **CHEAP) == 8


def test_plain_decoding_when_a_draft_cannot_pay() -> None:
    assert drafted(0.2, 32) == 0


@given(st.floats(0.05, 0.99), st.floats(1e-6, 5e-3), st.integers(1, 32))
def test_dearer_compute_never_drafts_more(confidence: float, gamma_s: float, batch: int) -> None:
    assert drafted(confidence, batch, target_gamma_s=2 * gamma_s) <= drafted(confidence, batch, target_gamma_s=gamma_s)


@given(st.floats(0.05, 0.9), st.floats(0.0, 0.09), st.integers(1, 32))
def test_higher_confidence_never_drafts_less(confidence: float, more: float, batch: int) -> None:
    assert drafted(confidence + more, batch) >= drafted(confidence, batch)


def test_stops_where_the_confidence_breaks_and_keeps_that_slot() -> None:
    confidence = np.tile([0.95, 0.95, 0.01, 0.95, 0.95, 0.95, 0.95, 0.95], (4, 1))
    policy = make("adaspec", linear_models(), prior_confidence=0.9)
    assert run_step(policy, make_view(4), confidence).k == 3


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6))
def test_pruning_equals_brute_force(batch: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    models = linear_models(target_gamma_s=float(rng.choice([1e-4, 2e-3, 1e-2])))
    policy = make("adaspec", models, prior_confidence=0.99)
    view = make_view(batch, k_limit=rng.integers(0, k + 1, batch), k_max=k)
    plan = policy.plan(view)
    if plan.k == 0:
        return
    confidence = rng.random((batch, plan.k))
    chosen = policy.select(DraftBundle(view, plan, plan.k, features_of(confidence), np.zeros(batch, np.bool_))).lengths
    survival = np.cumprod(confidence, axis=1)

    def efficiency(lengths: tuple[int, ...]) -> float:
        tokens = batch + sum(survival[i, :length].sum() for i, length in enumerate(lengths))
        return float(tokens) / float(models.cost.step_s(StepLoad.of(view), plan.k, sum(lengths)))

    shapes = itertools.product(*(range(min(int(limit), plan.k) + 1) for limit in view.k_limit))
    assert efficiency(tuple(chosen)) == pytest.approx(max(map(efficiency, shapes)))


def test_a_length_that_breaks_the_objective_is_seen() -> None:
    view = make_view(4, tpot_slo_s=np.full(4, 0.035), elapsed_decode_s=np.full(4, 0.315))
    policy = make("adaspec", linear_models(), prior_confidence=0.6)
    policy.plan(view)
    tokens = np.ones(4)
    assert policy._breaks(3, tokens)  # 47 ms for one token; 35 ms are left
    assert not policy._breaks(3, tokens * 2)


def test_a_tight_objective_of_an_unlucky_request_turns_drafting_off() -> None:
    confidence = np.vstack([np.full((3, 8), 0.9), np.full((1, 8), 0.05)])
    free = make_view(4)
    tight = make_view(4, tpot_slo_s=np.array([np.inf] * 3 + [0.036]), elapsed_decode_s=np.full(4, 0.324))
    unbound = run_step(make("adaspec", linear_models(), prior_confidence=0.9), free, confidence)
    bound = run_step(make("adaspec", linear_models(), prior_confidence=0.9), tight, confidence)
    assert unbound.lengths.sum() > bound.lengths.sum()


def test_requests_with_sampled_drafts_get_the_pruning_rule_in_the_plan() -> None:
    policy = make("adaspec", linear_models(**CHEAP))
    assert policy.plan(make_view(4)).cut is None
    cut = policy.plan(make_view(4, temperature=np.full(4, 0.7))).cut
    assert cut is not None
    assert len(cut.cost_s) == 4 * 8 + 1
    assert (np.diff(cut.cost_s) >= 0).all()


def test_mean_confidence_follows_the_draft_whatever_came_of_it() -> None:
    policy = make("adaspec", linear_models(**CHEAP), prior_confidence=0.9)
    for _ in range(300):
        run_step(policy, make_view(4), np.full((4, 8), 0.3))
    assert policy.mean_confidence == pytest.approx(0.3, abs=0.1)
