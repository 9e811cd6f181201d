"""From what was measured to a profile and its report: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deployments.profile.advice import by_batch, policy_block
from deployments.profile.design import held_out
from deployments.profile.fit import fit
from deployments.profile.profile import Key, Profile
from deployments.profile.quality import by_region, predicted_s
from deployments.profile.reliability import by_position, reliability
from deployments.profile.shapes import Shape, disturbed_share, shapes_of
from deployments.profile.tried import Tried
from policies.estimators.cost import LinearCost
from policies.models import StepLoad

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONTEXT_TOKENS = 256  # of a request, where advice is given


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was measured. Rows of steps are `probe.COLUMNS`."""

    greedy: list[list[float]]
    sampled: list[list[float]]
    tried: list[Tried]
    decisions: list[dict[str, Any]]
    k_max: int


def profile_of(found: Findings, key: Key, made_at: str) -> Profile:
    """Fits the shapes that are not held out and tests on those that are. Raises ValueError for too few shapes."""
    shapes = shapes_of(found.greedy)
    coefficients = fit([s for s in shapes if not held_out(s.batch)])
    test = [s for s in shapes if held_out(s.batch)]
    return Profile(
        key=key,
        made_at=made_at,
        coefficients=coefficients,
        acceptance=by_position(found.tried, found.k_max),
        held_out=by_region(LinearCost(coefficients), test) if test else {},
    )


def report_of(found: Findings, profile: Profile, model: str, path: str) -> dict[str, Any]:
    """The numbers of the report; `path` is where the profile lies, for the block to paste."""
    cost, shapes = LinearCost(profile.coefficients), shapes_of(found.greedy)
    rows = by_batch(cost, profile.acceptance, CONTEXT_TOKENS, list(BATCHES))
    return {
        "model": model,
        "profile": profile.model_dump(mode="json"),
        "largest_batch": max(s.batch for s in shapes),
        "disturbed_share": disturbed_share(found.greedy),
        "advice": rows,
        "advice_context_tokens": CONTEXT_TOKENS,
        "policy_block": policy_block(rows, path),
        "confidence": reliability(found.tried),
        "overheads": _overheads_ms(found, shapes, profile),
        "decisions": [_priced(row, cost) for row in found.decisions],
        "points": _points(cost, shapes),
    }


def _points(cost: LinearCost, shapes: list[Shape]) -> list[dict[str, Any]]:
    return [
        {
            "batch": s.batch,
            "k": s.k,
            "steps": s.steps,
            "context_tokens": round(s.context_tokens),
            "prefill_tokens": round(s.prefill_tokens),
            "catch_up_tokens": round(s.catch_up_tokens),
            "measured_ms": round(1e3 * s.step_s, 3),
            "predicted_ms": round(1e3 * float(p), 3),
            "held_out": held_out(s.batch),
        }
        for s, p in zip(shapes, predicted_s(cost, shapes), strict=True)
    ]


def _overheads_ms(found: Findings, shapes: list[Shape], profile: Profile) -> dict[str, float | None]:
    c = profile.coefficients
    return {
        "engine outside the worker, a step": 1e3 * c.overhead_s,
        "drafting at all, a step": 1e3 * (c.draft_start_s + c.verify_start_s),
        "catch-up, per token missing from the draft's cache": 1e3 * c.catch_up_s,
        "switching from K = 0 back on, a step (median over shapes)": _switching_ms(shapes),
        "sampling at temperature 1, per request and step": _sampler_ms(found.sampled, shapes),
    }


def _switching_ms(shapes: list[Shape]) -> float | None:
    """What drafting takes more in the step after steps without, at the same batch and K."""
    plain = {s.alike: s.draft_s for s in shapes if s.k and not s.catch_up_tokens}
    more = [s.draft_s - plain[s.alike] for s in shapes if s.catch_up_tokens and s.alike in plain]
    return 1e3 * float(np.median(more)) if more else None


def _sampler_ms(sampled: list[list[float]], shapes: list[Shape]) -> float | None:
    """Verify time of sampled steps over greedy ones of the same batch and K, by request."""
    greedy = {s.alike: s.verify_s for s in shapes if not s.prefill_tokens}
    more = [(s.verify_s - greedy[s.alike]) / s.batch for s in shapes_of(sampled) if s.alike in greedy]
    return 1e3 * float(np.median(more)) if more else None


def _priced(row: dict[str, Any], cost: LinearCost) -> dict[str, Any]:
    batch, k = row["batch"], round(row["k"])
    step_s = float(cost.step_s(StepLoad(batch, batch * CONTEXT_TOKENS), k, k * batch))
    return {**row, "share_of_step": (row["controller_ms"] + row["elimination_ms"]) / 1e3 / step_s}
