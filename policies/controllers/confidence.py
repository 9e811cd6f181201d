"""Draft while the draft model is confident."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from policies.api import (
    DraftBundle,
    DraftObservation,
    Feature,
    PolicyContext,
    StepFeedback,
    StepPlan,
    StepView,
    VerifyPlan,
)
from policies.base import BasePolicy, Params, most_k
from policies.survival import usable_slots

BINS = 20


class ConfidenceParams(Params):
    """Hugging Face's default threshold is 0.4, AdaSpec's baseline used 0.6."""

    threshold: float = Field(default=0.6, ge=0, le=1, description="least draft top-1 probability to go on")
    rule: Literal["mean", "chain"] = Field(
        default="mean", description="mean: the batch's mean decides for all; chain: each request stops by itself"
    )
    k: int = Field(default=8, ge=0, le=64, description="most draft tokens per request")
    tune: bool = Field(default=False, description="learn the threshold from what was accepted")
    keep: float = Field(default=0.99, ge=0, le=1, description="weight of the past per step when tuning")


class Confidence(BasePolicy[ConfidenceParams]):
    """Stop at the first slot whose top-1 probability is below a threshold; that slot is kept (`mean`) or cut (`chain`).

    Source: vLLM's confidence stop; Hugging Face's assistant threshold, whose tuning minimises
    false positives + 3 false negatives over seen (top-1, accepted) pairs: here over an ageing histogram.
    """

    name = "confidence"
    needs: frozenset[Feature] = frozenset({"top1"})
    stops_early = True
    Params = ConfidenceParams

    def __init__(self, params: ConfidenceParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        self.threshold = params.threshold
        self._seen = np.zeros((2, BINS))  # rejected, accepted by top-1 bin
        self._alive = np.zeros(0, np.bool_)

    def plan(self, view: StepView) -> StepPlan:
        self._alive = np.ones(view.batch, np.bool_)
        return StepPlan(k=most_k(view, self.params.k), reason="confidence")

    def after_draft(self, seen: DraftObservation) -> bool:
        top1 = seen.features["top1"]
        if self.params.rule == "mean":
            return bool(top1.mean() >= self.threshold)
        self._alive &= top1 >= self.threshold
        return bool(self._alive.any())

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        if self.params.rule == "mean":
            return VerifyPlan()
        alive = np.logical_and.accumulate(bundle.features["top1"] >= self.threshold, axis=1)
        return VerifyPlan(np.minimum(alive.sum(1), usable_slots(bundle)))

    def feedback(self, seen: StepFeedback) -> None:
        if not self.params.tune or not seen.verified.any():
            return
        top1 = seen.features["top1"]
        slots = np.arange(top1.shape[1])
        bins = np.minimum((top1 * BINS).astype(np.int64), BINS - 1)
        reached = slots < np.minimum(seen.accepted + 1, seen.verified)[:, None]
        hit = reached & (slots < seen.accepted[:, None])
        self._seen *= self.params.keep
        self._seen[0] += np.bincount(bins[reached & ~hit], minlength=BINS)
        self._seen[1] += np.bincount(bins[hit], minlength=BINS)
        self._tune()

    def _tune(self) -> None:
        rejected, accepted = self._seen.sum(1)
        if min(rejected, accepted) < 1.0:  # one class alone cannot place a threshold
            return
        false_negatives = np.concatenate(([0.0], np.cumsum(self._seen[1])[:-1])) / accepted
        false_positives = np.cumsum(self._seen[0][::-1])[::-1] / rejected
        self.threshold = int(np.argmin(false_positives + 3 * false_negatives)) / BINS

    def snapshot(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "seen": self._seen.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        if self.params.tune:
            self.threshold, self._seen = float(state["threshold"]), np.asarray(state["seen"], np.float64)
