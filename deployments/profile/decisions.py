"""What deciding takes: the controller's plan and early stops, and the elimination of draft tokens, up to batch 256."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

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
from policies.estimators.cost import LinearCoefficients, LinearCost
from policies.models import StepLoad
from policies.registry import PolicySpec, build

POLICIES = ("slo_goodput", "adaspec")
BATCHES = (1, 4, 16, 32, 64, 128, 256)
STEPS, WARM_UP = 60, 20
CHEAP = LinearCoefficients(target_gamma_s=2e-5, draft_delta_s=3e-4)
"""A machine on which drafting pays at every batch, so that there is something to eliminate."""


def decisions(k_max: int, seed: int = 0) -> list[dict[str, Any]]:
    """CPU milliseconds a step by policy and batch: medians over `STEPS` steps of a synthetic engine."""
    return [_row(name, batch, k_max, seed) for name in POLICIES for batch in BATCHES]


def _row(name: str, batch: int, k_max: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    models = default_models(k_max, CHEAP)
    policy = build(PolicySpec(name=name), PolicyContext(k_max, models, seed))
    times = []
    for step in range(WARM_UP + STEPS):
        seen, *spent = _step(policy, _view(rng, batch, k_max, step), rng.beta(4, 2, (batch, k_max)), rng)
        models.observe(seen)
        policy.feedback(seen)
        if step >= WARM_UP:
            times.append((*spent, seen.k))
    controller, elimination, k = np.median(times, axis=0)
    found = {"controller_ms": round(1e3 * controller, 4), "elimination_ms": round(1e3 * elimination, 4), "k": float(k)}
    return {"policy": name, "batch": batch, **found}


def _step(
    policy: Policy, view: StepView, confidence: FloatArray, rng: np.random.Generator
) -> tuple[StepFeedback, float, float]:
    """What became of a step, and the CPU seconds of its controller and of its elimination."""
    started = time.thread_time()
    plan = policy.plan(view)
    k = _drafted(policy, plan, confidence)
    planned = time.thread_time()
    features: dict[Feature, FloatArray] = {"top1": confidence[:, :k]}
    nobody = np.zeros(view.batch, np.bool_)
    lengths = policy.select(DraftBundle(view, plan, k, features, nobody)).lengths if k else None
    ended = time.thread_time()
    verified = np.full(view.batch, k) if lengths is None else np.asarray(lengths)
    return _feedback(view, k, verified, features, rng), planned - started, ended - planned


def _drafted(policy: Policy, plan: StepPlan, confidence: FloatArray) -> int:
    k = 0
    while k < plan.k and policy.before_draft(k):
        k += 1
        if not policy.after_draft(DraftObservation(k - 1, {"top1": confidence[:, k - 1]}, 0.0)):
            break
    return k


def _view(rng: np.random.Generator, batch: int, k_max: int, step: int) -> StepView:
    emitted = rng.integers(1, 400, batch)
    return StepView(
        step=step,
        at_s=0.03 * step,
        k_max=k_max,
        request_ids=tuple(map(str, range(batch))),
        context_tokens=rng.integers(50, 1000, batch),
        emitted_tokens=emitted,
        elapsed_decode_s=emitted * rng.uniform(0.02, 0.06, batch),
        tpot_slo_s=np.full(batch, 0.05),
        temperature=np.zeros(batch),
        draft_lag_tokens=np.zeros(batch, np.int64),
        k_limit=np.full(batch, k_max),
    )


def _feedback(
    view: StepView, k: int, verified: IntArray, features: dict[Feature, FloatArray], rng: np.random.Generator
) -> StepFeedback:
    """Accepted as often as the draft was sure, in the time `CHEAP` says."""
    hits = np.logical_and.accumulate(rng.random((view.batch, k)) < features["top1"], axis=1).sum(1)
    step_s = float(LinearCost(CHEAP).step_s(StepLoad.of(view), k, verified.sum()))
    return StepFeedback(
        step=view.step,
        request_ids=view.request_ids,
        k=k,
        drafted=np.full(view.batch, k),
        verified=verified,
        accepted=np.minimum(hits, verified),
        features=features,
        context_tokens=int(view.context_tokens.sum()),
        prefill_tokens=0,
        draft_s=CHEAP.draft_delta_s * k,
        verify_s=step_s - CHEAP.draft_delta_s * k,
        step_s=step_s,
    )
