from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.models import Models, StepLoad
from tests.unit.policies.worlds import linear_models, make, make_view, run_step

pytestmark = pytest.mark.unit


def chosen(alpha: float, batch: int = 8, models: Models | None = None) -> int:
    policy = make("goodput", models or linear_models(), prior=alpha)
    return int(policy.plan(make_view(batch)).k)


@given(
    st.floats(0, 1), st.integers(1, 64), st.floats(1e-6, 1e-2), st.floats(0, 1e-2), st.floats(0, 5e-3), st.floats(1, 2)
)
def test_the_choice_equals_brute_force(
    alpha: float, batch: int, gamma: float, delta: float, start: float, bonus: float
) -> None:
    models = linear_models(target_gamma_s=gamma, draft_delta_s=delta, draft_start_s=start)
    policy = make("goodput", models, prior=alpha, plain_bonus=bonus)
    view = make_view(batch)
    load = StepLoad.of(view)

    def rate(k: int) -> float:
        tokens = batch * sum(alpha**j for j in range(k + 1))
        return tokens / float(models.cost.step_s(load, k, k * batch)) * (bonus if k == 0 else 1.0)

    assert rate(policy.plan(view).k) == pytest.approx(max(map(rate, range(9))))


@given(st.floats(0.05, 0.95), st.integers(1, 32), st.floats(1e-6, 5e-3))
def test_dearer_compute_never_raises_k(alpha: float, batch: int, gamma: float) -> None:
    cheap, dear = linear_models(target_gamma_s=gamma), linear_models(target_gamma_s=2 * gamma)
    assert chosen(alpha, batch, dear) <= chosen(alpha, batch, cheap)


@given(st.floats(0.05, 0.9), st.floats(0, 0.1), st.integers(1, 32))
def test_higher_acceptance_never_lowers_k(alpha: float, more: float, batch: int) -> None:
    assert chosen(alpha + more, batch) >= chosen(alpha, batch)


def play(policy: Any, steps: int, accepted: int, batch: int = 4) -> list[int]:
    return [run_step(policy, make_view(batch), np.zeros((batch, 8)), np.full(batch, accepted)).k for _ in range(steps)]


def test_acceptance_counts_only_tried_tokens() -> None:
    policy = make("goodput", linear_models(target_gamma_s=1e-6), keep=0.9)
    play(policy, 200, 1)  # one accepted, one rejected, six never tried
    assert policy.acceptance == pytest.approx(0.5, abs=0.03)


def test_a_new_batch_is_chosen_for_at_once_and_the_same_batch_after_a_while() -> None:
    policy = make("goodput", linear_models(), every=20)
    first = play(policy, 1, 0, batch=1)[0]
    assert first > 0
    assert play(policy, 1, 0, batch=32) == [0]
    assert play(policy, 1, 0, batch=1)[0] < first
    lone = make("goodput", linear_models(), every=20)
    assert play(lone, 20, 0, batch=1) == [first] * 20
    assert play(lone, 1, 0, batch=1)[0] < first


def test_plain_decoding_is_left_again() -> None:
    policy = make("goodput", linear_models(target_gamma_s=1e-6), every=5)
    assert play(policy, 60, 0)[-1] == 0
    assert max(play(policy, 500, 8)) > 0


def test_a_lower_maximum_holds_at_once() -> None:
    policy = make("goodput", linear_models(target_gamma_s=0.0, draft_delta_s=0.0), k=8)
    assert policy.plan(make_view(4)).k == 8
    edited = make("goodput", linear_models(), k=2)
    edited.restore(policy.snapshot())
    assert edited.plan(make_view(4)).k <= 2
