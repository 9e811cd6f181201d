"""What will be accepted, from the draft's confidence, calibrated online."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp
from typing import Any

import numpy as np

from policies.api import Feature, FloatArray, StepFeedback, StepView
from policies.estimators.acceptance import PerPosition
from policies.estimators.calibration import CalibrationError, risk_set

SURE = 6.0
"""Logit beyond which more confidence is not more evidence."""

UNSURE = 1.0 / (1.0 + exp(SURE))

CELLS = 1024
"""Resolution of the lookup table that stands in for the logistic, which would be the dearest part of a decision."""

STALE = 0.02
"""Logits by which the table may be behind, at most .005 of a probability: it is the dearest part of a step."""


def logit(p: FloatArray) -> FloatArray:
    """Clipped to -SURE .. SURE."""
    p = np.minimum(np.maximum(p, UNSURE), 1.0 - UNSURE)
    return np.asarray(np.log(p / (1.0 - p)))


def sigmoid(x: FloatArray) -> FloatArray:
    """The inverse of `logit` where that does not clip."""
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


FADE = 0.995
"""Weight of what was learned per step that drafts and tries nothing: some hundred steps until it is tried again."""


class Calibrated:
    """P(accepted | draft's top-1 q) = sigmoid(b + w logit q), w >= 0: an ageing online logistic regression.

    Before drafting, from positions alone (`PerPosition`). Learns from risk sets, so pruning by confidence does not bias
    it: it conditions on the very feature that pruning looks at. Starts from, and is drawn towards, b = 0 and w = 1 (the
    draft means what it says). When residuals go one way for long, the past is forgotten faster: a change of domain.
    Source: vLLM's online calibration of adaptive verification (PR #52228), with forgetting instead of windows.
    """

    def __init__(self, k_max: int, keep: float = 0.98, pull: tuple[float, float] = (4.0, 8.0)) -> None:
        """`keep`: weight of the past per verified step; `pull`: Fisher information of the prior on b and w."""
        self._positions = PerPosition(k_max)
        self._slots = np.arange(k_max)
        self._keep, self._pull = keep, pull
        self._b, self._w = 0.0, 1.0
        self._information = (0.0, 0.0, 0.0)  # Fisher information: b b, b w, w w
        self._drift, self._drift_variance = 0.0, 0.0
        self._error = CalibrationError()
        self._at = logit((np.arange(CELLS + 1) + 0.5) / (CELLS + 1))
        self._tabulate()

    def conditional(self, view: StepView, k: int) -> FloatArray:
        return self._positions.conditional(view, k)

    def confident(self, features: Mapping[Feature, FloatArray]) -> FloatArray:
        return self._table.take((features["top1"] * CELLS).astype(np.intp), mode="clip")

    def observe(self, seen: StepFeedback) -> None:
        self._positions.observe(seen)
        if not seen.k or "top1" not in seen.features:
            return
        tried, accepted = risk_set(seen, self._slots[: seen.k])
        x = seen.features["top1"][tried]
        if len(x):
            self._learn(logit(x), accepted[tried])
        else:
            self._fade()

    def _learn(self, x: FloatArray, hit: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        p = sigmoid(self._b + self._w * x)
        if self._error.due():
            self._error.add(p, hit)
        residual, variance = hit - p, p * (1.0 - p)
        total, surprise = float(np.add.reduce(residual)), float(np.add.reduce(variance))
        self._notice_drift(total, surprise)
        cross = float(variance @ x)
        keep, (pull_b, pull_w) = self._keep, self._pull
        bb, bw, ww = self._information
        self._information = bb, bw, ww = keep * bb + surprise, keep * bw + cross, keep * ww + float(variance @ (x * x))
        slope_b = total - (1.0 - keep) * pull_b * self._b
        slope_w = float(residual @ x) - (1.0 - keep) * pull_w * (self._w - 1.0)
        bb, ww = bb + pull_b, ww + pull_w
        determinant = bb * ww - bw * bw
        self._b = min(max(self._b + (ww * slope_b - bw * slope_w) / determinant, -SURE), SURE)
        self._w = min(max(self._w + (bb * slope_w - bw * slope_b) / determinant, 0.0), 4.0)
        self._tabulate_anew()

    def _fade(self) -> None:
        """Drafted and nothing tried: back towards what the draft says, or a bad spell would never be seen to end."""
        self._b *= FADE
        self._w += (1.0 - FADE) * (1.0 - self._w)
        self._tabulate_anew()

    def _tabulate_anew(self) -> None:
        b, w = self._tabulated
        if abs(self._b - b) + SURE * abs(self._w - w) > STALE:
            self._tabulate()

    def _tabulate(self) -> None:
        self._tabulated = self._b, self._w
        self._table = sigmoid(self._b + self._w * self._at)

    def _notice_drift(self, residual: float, variance: float) -> None:
        self._drift = 0.9 * self._drift + residual
        self._drift_variance = 0.81 * self._drift_variance + variance
        if self._drift**2 > 9.0 * (self._drift_variance + 1.0):
            bb, bw, ww = self._information
            self._information = 0.5 * bb, 0.5 * bw, 0.5 * ww
            self._drift = 0.0

    def snapshot(self) -> dict[str, Any]:
        return {
            "positions": self._positions.snapshot(),
            "b": self._b,
            "w": self._w,
            "information": list(self._information),
            "drift": [self._drift, self._drift_variance],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._positions.restore(state["positions"])
        self._b, self._w = float(state["b"]), float(state["w"])
        bb, bw, ww = map(float, state["information"])
        self._information = bb, bw, ww
        self._drift, self._drift_variance = map(float, state["drift"])
        self._tabulate()

    def explain(self) -> dict[str, Any]:
        learned = {"bias": round(self._b, 3), "slope": round(self._w, 3), "ece": self._error.value}
        return {"kind": "calibrated", **learned, "positions": self._positions.explain()}
