"""Whether the draft's confidence predicts what the target accepts: by domain."""

from __future__ import annotations

from typing import Any

import numpy as np

from deployments.profile.tried import Tried
from policies.api import BoolArray, FloatArray

BINS = 10


def reliability(tried: list[Tried]) -> dict[str, Any]:
    """Curve, calibration error and correlation over all draft tokens put to the test, and for each domain.

    `r` correlates confidence with acceptance token by token; `r_of_bins` the bins' means, as papers plot them.
    """
    domains = sorted({t.domain for t in tried})
    by_domain = {name: _group([t for t in tried if t.domain == name]) for name in domains}
    spread = {
        name: [min(found), max(found)]
        for name in ("r", "r_of_bins", "acceptance", "calibration_error")
        if (found := [group[name] for group in by_domain.values() if group[name] is not None])
    }
    return {"all": _group(tried), "domains": by_domain, "spread": spread}


def by_position(tried: list[Tried], k_max: int) -> tuple[float, ...]:
    """P(accepted | the positions before were accepted), by draft position; a position never tried repeats the last."""
    rates: list[float] = []
    for slot in range(k_max):
        hits = [t.accepted for t in tried if t.slot == slot]
        rates.append(float(np.mean(hits)) if hits else (rates[-1] if rates else 0.0))
    return tuple(rates)


def _group(tried: list[Tried]) -> dict[str, Any]:
    confidence = np.array([t.confidence for t in tried], np.float64)
    hit = np.array([t.accepted for t in tried], np.bool_)
    curve = _curve(confidence, hit)
    tokens = [b["tokens"] for b in curve]
    gaps = [abs(b["confidence"] - b["accepted"]) for b in curve]
    means = np.array([[b["confidence"], b["accepted"]] for b in curve]).reshape(-1, 2)
    return {
        "tokens": len(tried),
        "acceptance": float(hit.mean()) if len(hit) else None,
        "confidence": float(confidence.mean()) if len(hit) else None,
        "calibration_error": float(np.average(gaps, weights=tokens)) if curve else None,
        "r": _correlation(confidence, hit.astype(np.float64), np.ones(len(hit))),
        "r_of_bins": _correlation(means[:, 0], means[:, 1], np.array(tokens, np.float64)),
        "curve": curve,
    }


def _curve(confidence: FloatArray, hit: BoolArray) -> list[dict[str, Any]]:
    at = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    return [
        {
            "tokens": int((at == i).sum()),
            "confidence": float(confidence[at == i].mean()),
            "accepted": float(hit[at == i].mean()),
        }
        for i in range(BINS)
        if (at == i).any()
    ]


def _correlation(x: FloatArray, y: FloatArray, weight: FloatArray) -> float | None:
    """Pearson's r; None where one of them does not vary."""
    if len(x) < 3 or not np.ptp(x) or not np.ptp(y):
        return None
    covariance = np.cov(x, y, aweights=weight)
    return float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
