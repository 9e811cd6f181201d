"""Views, bundles and feedback for policy tests, and hypothesis strategies that make any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from policies.api import (
    DraftBundle,
    DraftObservation,
    Feature,
    FloatArray,
    IntArray,
    Policy,
    PolicyContext,
    StepFeedback,
    StepPlan,
    StepView,
)
from policies.estimators import default_models
from policies.estimators.acceptance import PerPosition
from policies.estimators.cost import LinearCoefficients, LinearCost
from policies.exchange import LoadOutlook
from policies.models import Models
from policies.registry import PolicySpec, build

FEATURES: tuple[Feature, ...] = ("top1", "margin", "entropy", "sampled_p")


def make_view(batch: int = 4, **changes: Any) -> StepView:
    view = StepView(
        step=1,
        at_s=10.0,
        k_max=8,
        request_ids=tuple(f"r{i}" for i in range(batch)),
        context_tokens=np.full(batch, 100),
        emitted_tokens=np.full(batch, 10),
        elapsed_decode_s=np.full(batch, 0.3),
        tpot_slo_s=np.full(batch, np.inf),
        temperature=np.zeros(batch),
        draft_lag_tokens=np.zeros(batch, np.int64),
        k_limit=np.full(batch, 8),
    )
    return replace(view, **changes)


def linear_models(**coefficients: float) -> Models:
    return Models(LinearCost(LinearCoefficients(**coefficients)), PerPosition(8))


def make(name: str, models: Models | None = None, *, k_max: int = 8, seed: int = 0, **params: Any) -> Any:
    """A policy by name. Any: tests look at what is particular to one class."""
    return build(
        PolicySpec(name=name, params=params), PolicyContext(k_max, models or default_models(k_max), seed, offloads=True)
    )


@dataclass(frozen=True)
class Step:
    """What one step of a policy came to."""

    plan: StepPlan
    k: int
    lengths: IntArray
    feedback: StepFeedback


def features_of(conditional: FloatArray) -> dict[Feature, FloatArray]:
    """A draft whose top-1 probability is exactly its chance of acceptance."""
    return {"top1": conditional, "margin": 8 * conditional, "entropy": 1 - conditional, "sampled_p": conditional}


def run_step(policy: Policy, view: StepView, conditional: ArrayLike, accepted: ArrayLike | None = None) -> Step:
    """plan, draft loop, select, feedback, as an engine runs them; `conditional` [B, k_max] is the confidence."""
    confidence = np.asarray(conditional, np.float64)
    plan = policy.plan(view)
    k = 0
    for j in range(plan.k):
        if not policy.before_draft(j):
            break
        k = j + 1
        seen = {name: values[:, j] for name, values in features_of(confidence).items() if name in policy.needs}
        if not policy.after_draft(DraftObservation(j, seen, elapsed_s=1e-3 * k)):
            break
    lengths = np.zeros(view.batch, np.int64)
    features = {name: values[:, :k] for name, values in features_of(confidence).items() if name in policy.needs}
    if k:
        limit = np.minimum(view.k_limit, k if plan.k_by_request is None else np.minimum(plan.k_by_request, k))
        chosen = policy.select(DraftBundle(view, plan, k, features, np.zeros(view.batch, np.bool_))).lengths
        lengths = limit if chosen is None else np.minimum(chosen, limit)
    taken = lengths if accepted is None else np.minimum(np.asarray(accepted, np.int64), lengths)
    feedback = feedback_of(view, k, lengths, taken, features)
    policy.feedback(feedback)
    return Step(plan, k, lengths, feedback)


def feedback_of(
    view: StepView,
    k: int,
    verified: ArrayLike,
    accepted: ArrayLike,
    features: dict[Feature, FloatArray] | None = None,
    **times: Any,
) -> StepFeedback:
    fields: dict[str, Any] = {"draft_s": 1e-3 * k, "verify_s": 0.03, "step_s": 0.035 + 1e-3 * k, **times}
    return StepFeedback(
        step=view.step,
        request_ids=view.request_ids,
        k=k,
        drafted=np.minimum(view.k_limit, k),
        verified=np.asarray(verified, np.int64),
        accepted=np.asarray(accepted, np.int64),
        features=features or {},
        context_tokens=int(view.context_tokens.sum()),
        prefill_tokens=view.prefill_tokens,
        **fields,
    )


def accept(rng: np.random.Generator, chances: FloatArray, verified: ArrayLike) -> IntArray:
    """[B] how many of the verified slots are accepted when slot (i, j) is with probability `chances` [B, K]."""
    hits = np.logical_and.accumulate(rng.random(chances.shape) < chances, axis=1)
    return np.asarray(np.minimum(hits.sum(1), verified), np.int64)


@st.composite
def views(draw: st.DrawFn, most_batch: int = 12) -> StepView:
    """Any view an engine may build, extremes included."""
    batch = draw(st.integers(0, most_batch))
    k_max = draw(st.integers(0, 10))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    slo: Sequence[float] = draw(st.lists(st.sampled_from([np.inf, 1e-4, 0.02, 0.05, 1.0]), min_size=1, max_size=4))
    outlook = None
    if draw(st.booleans()):
        expected = draw(st.floats(0, 1000))
        age_s = draw(st.floats(0, 10))
        outlook = LoadOutlook(at_s=0.0, age_s=age_s, expected_batch_p50=expected, expected_batch_p90=2 * expected)
    return StepView(
        step=draw(st.integers(0, 10**9)),
        at_s=draw(st.floats(0, 1e9)),
        k_max=k_max,
        request_ids=tuple(f"r{i}" for i in range(batch)),
        context_tokens=rng.integers(1, 4096, batch),
        emitted_tokens=rng.integers(1, 2048, batch),
        elapsed_decode_s=rng.choice([0.0, 1e-3, 1.0, 1e4], batch),
        tpot_slo_s=rng.choice(slo, batch),
        temperature=rng.choice([0.0, 0.7, 1.0], batch),
        draft_lag_tokens=rng.integers(0, 3, batch) * rng.integers(0, 1000, batch),
        k_limit=rng.integers(0, k_max + 1, batch),
        prefill_tokens=draw(st.sampled_from([0, 1, 512, 8192])),
        waiting=draw(st.sampled_from([None, 0, 3, 1000])),
        waiting_prefill_tokens=draw(st.sampled_from([None, 0, 100000])),
        token_budget=draw(st.sampled_from([None, 0, 2048])),
        free_kv_fraction=draw(st.sampled_from([None, 0.0, 0.05, 1.0])),
        outlook=outlook,
    )
