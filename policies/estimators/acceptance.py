"""What will be accepted, learned from what was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from policies.api import Feature, FloatArray, StepFeedback, StepView


class PerPosition:
    """P(slot j accepted | earlier ones accepted) per position, from risk sets with ageing.

    A slot counts as tried only if it was verified and every earlier slot was accepted; dividing accepted by drafted
    would count tokens that were never tested.
    """

    def __init__(self, k_max: int, prior: float = 0.7, prior_weight: float = 4.0, keep: float = 0.99) -> None:
        self._prior, self._weight, self._keep = prior, prior_weight, keep
        self._accepted = np.zeros(k_max)
        self._tried = np.zeros(k_max)

    def rates(self) -> FloatArray:
        """[k_max] conditional acceptance by position."""
        pooled = (self._accepted.sum() + self._weight * self._prior) / (self._tried.sum() + self._weight)
        return np.asarray((self._accepted + self._weight * pooled) / (self._tried + self._weight))

    def conditional(self, view: StepView, k: int) -> FloatArray:
        return np.broadcast_to(self.rates()[:k], (view.batch, k))

    def confident(self, features: Mapping[Feature, FloatArray]) -> FloatArray:
        return features["top1"]

    def observe(self, seen: StepFeedback) -> None:
        if not seen.verified.any():
            return
        slots = np.arange(len(self._tried))
        accepted = slots < seen.accepted[:, None]
        tried = slots < np.minimum(seen.accepted + 1, seen.verified)[:, None]
        self._accepted = self._keep * self._accepted + accepted.sum(0)
        self._tried = self._keep * self._tried + tried.sum(0)

    def snapshot(self) -> dict[str, Any]:
        return {"accepted": self._accepted.tolist(), "tried": self._tried.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._accepted = np.asarray(state["accepted"], np.float64)
        self._tried = np.asarray(state["tried"], np.float64)

    def explain(self) -> dict[str, Any]:
        return {"kind": "per_position", "rates": self.rates().round(3).tolist()}
