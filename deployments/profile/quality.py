"""How true a time model is on shapes it was not fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np

from deployments.profile.shapes import Shape
from policies.api import FloatArray
from policies.models import CostModel, StepLoad

REGIONS = {"batch 1-4": (1, 4), "batch 5-16": (5, 16), "batch over 16": (17, 1 << 30)}
GOAL = 0.10  # median absolute relative error a region may have


def predicted_s(cost: CostModel, shapes: list[Shape]) -> FloatArray:
    """[n] step times of `shapes` under `cost`."""
    return np.array([float(cost.step_s(_load(s), s.k, s.verified_tokens)) for s in shapes])


def by_region(cost: CostModel, shapes: list[Shape]) -> dict[str, Any]:
    """Errors over all `shapes` and by region of batch; a region without shapes is left out."""
    found = {"all": _errors(cost, shapes)}
    for name, (low, high) in REGIONS.items():
        mine = [s for s in shapes if low <= s.batch <= high]
        if mine:
            found[name] = _errors(cost, mine)
    return found


def _errors(cost: CostModel, shapes: list[Shape]) -> dict[str, float | int]:
    predicted, measured = predicted_s(cost, shapes), np.array([s.step_s for s in shapes])
    off = predicted - measured
    spread = float(((measured - measured.mean()) ** 2).sum())
    return {
        "shapes": len(shapes),
        "steps": sum(s.steps for s in shapes),
        "r2": round(1 - float((off**2).sum()) / spread, 4) if spread else 0.0,
        "mae_ms": round(1e3 * float(np.abs(off).mean()), 3),
        "median_ape": round(float(np.median(np.abs(off) / measured)), 4),
        "p90_ape": round(float(np.quantile(np.abs(off) / measured, 0.9)), 4),
        "bias": round(float(np.median(off / measured)), 4),
    }


def _load(shape: Shape) -> StepLoad:
    catch_up = round(shape.catch_up_tokens)
    return StepLoad(shape.batch, round(shape.context_tokens), round(shape.prefill_tokens), catch_up)
