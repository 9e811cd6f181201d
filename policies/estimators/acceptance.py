"""What will be accepted, learned from what was: by position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from policies.api import Feature, FloatArray, StepFeedback, StepView
from policies.estimators.calibration import CalibrationError, reached, risk_set, tried_slots


class PerPosition:
    """P(slot j accepted | earlier ones accepted) per position: a censored maximum likelihood from ageing risk sets.

    Only slots that were tried count; dividing accepted by drafted would count tokens that were never tested
    (TurboSpec's rate, which is biased low). While nothing is verified the counts fade slowly, so the estimate returns
    to its prior.
    """

    def __init__(
        self, k_max: int, prior: float = 0.7, prior_weight: float = 4.0, keep: float = 0.95, fade: float = 0.999
    ) -> None:
        """`keep` and `fade`: weight of the past per step with and without verified drafts."""
        self._prior, self._weight, self._keep, self._fade = prior, prior_weight, keep, fade
        self._slots = np.arange(k_max)
        self._counts = np.zeros((2, k_max))  # accepted, tried
        self._error = CalibrationError()

    def rates(self) -> FloatArray:
        """[k_max] conditional acceptance by position, each drawn towards the mean of all."""
        accepted, tried = self._counts
        pooled = (accepted.sum() + self._weight * self._prior) / (tried.sum() + self._weight)
        return np.asarray((accepted + self._weight * pooled) / (tried + self._weight))

    def conditional(self, view: StepView, k: int) -> FloatArray:
        return np.broadcast_to(self.rates()[:k], (view.batch, k))

    def confident(self, features: Mapping[Feature, FloatArray]) -> FloatArray:
        """The draft's own top-1 probability: positions say nothing about a single slot."""
        return features["top1"]

    def observe(self, seen: StepFeedback) -> None:
        if not seen.verified.any():
            self._counts *= self._fade
            return
        if self._error.due():
            tried, accepted = risk_set(seen, self._slots)
            self._error.add(np.broadcast_to(self.rates(), tried.shape)[tried], accepted[tried])
        k = len(self._slots)
        self._counts *= self._keep
        self._counts[0] += reached(seen.accepted, k)
        self._counts[1] += reached(tried_slots(seen), k)

    def snapshot(self) -> dict[str, Any]:
        return {"counts": self._counts.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._counts = np.asarray(state["counts"], np.float64)

    def explain(self) -> dict[str, Any]:
        return {"kind": "per_position", "rates": self.rates().round(3).tolist(), "ece": self._error.value}


class ConfidenceProduct(PerPosition):
    """The draft's own confidence, uncalibrated: what AdaSpec, AdaServe and TETRIS multiply along a chain."""

    def observe(self, seen: StepFeedback) -> None:
        super().observe(seen)
        if "top1" in seen.features and seen.k and self._confidence_error.due():
            tried, accepted = risk_set(seen, self._slots[: seen.k])
            self._confidence_error.add(seen.features["top1"][tried], accepted[tried])

    def __init__(self, k_max: int) -> None:
        super().__init__(k_max)
        self._confidence_error = CalibrationError()

    def explain(self) -> dict[str, Any]:
        return {**super().explain(), "kind": "confidence_product", "ece": self._confidence_error.value}
