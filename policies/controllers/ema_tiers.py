"""Tiers of K per batch size, climbed by the mean accepted length."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from policies.api import PolicyContext, StepFeedback, StepPlan, StepView
from policies.base import BasePolicy, Params, most_k

SGLANG = {1: (1, 3, 5, 7), 8: (0, 1, 3), 32: (0, 1), 64: (0,)}


class EmaTiersParams(Params):
    """SGLang's defaults, but for `up`, whose 0 makes neighbouring tiers flip several times a second."""

    tiers: dict[int, tuple[int, ...]] = Field(default=SGLANG, min_length=1, description="lowest batch -> rising K")
    rate: float = Field(default=0.2, gt=0, le=1, description="weight of the newest step's mean accepted length")
    warm_up: int = Field(default=10, ge=0, description="verified steps before the first change")
    every: int = Field(default=5, ge=1, description="steps between changes")
    up: float = Field(default=0.25, ge=-8, le=8, description="hysteresis of climbing, draft tokens")
    down: float = Field(default=-0.25, ge=-8, le=8, description="hysteresis of stepping down, draft tokens")

    @field_validator("tiers")
    @classmethod
    def _rising(cls, tiers: dict[int, tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
        for batch, lengths in tiers.items():
            if (
                batch < 1
                or not lengths
                or sorted(set(lengths)) != list(lengths)
                or not 0 <= lengths[0] <= lengths[-1] <= 64
            ):
                raise ValueError(f"tiers[{batch}] = {lengths} must be rising K in 0..64 for a batch of at least 1")
        return dict(sorted(tiers.items()))


class EmaTiers(BasePolicy[EmaTiersParams]):
    """Wants K near the mean accepted length + 1: down a tier while the mean fits a lower one, else up while it is full.

    Source: SGLang `--speculative-adaptive` (PR #21599, per-batch slots #24055). Knows nothing of cost. From K = 0 it
    climbs one tier at every change: its way of probing.
    """

    name = "ema_tiers"
    Params = EmaTiersParams

    def __init__(self, params: EmaTiersParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._batches = list(params.tiers)
        top = max(params.tiers[self._batches[0]])
        self._mean, self._k = max(top - 1.0, 0.0), top
        self._verified_steps, self._since = 0, 0

    def plan(self, view: StepView) -> StepPlan:
        tiers = self.params.tiers[self._batches[max(bisect_right(self._batches, view.batch) - 1, 0)]]
        at = max(bisect_right(tiers, self._k) - 1, 0)
        self._since += 1
        if self._since >= self.params.every and (self._verified_steps >= self.params.warm_up or tiers[at] == 0):
            self._since = 0
            at = self._move(tiers, at)
        self._k = tiers[at]
        return StepPlan(k=most_k(view, self._k), reason="tier")

    def _move(self, tiers: tuple[int, ...], at: int) -> int:
        if tiers[at] == 0:
            return min(at + 1, len(tiers) - 1)
        start = at
        while at and self._mean <= (tiers[at - 1] - 0.5 if tiers[at - 1] else 0.5) + self.params.down:
            at -= 1
        while at >= start and at + 1 < len(tiers) and self._mean > tiers[at] - 0.5 + self.params.up:
            at += 1
        return at

    def feedback(self, seen: StepFeedback) -> None:
        if seen.verified.any():
            self._verified_steps += 1
            self._mean += self.params.rate * (float(seen.accepted.mean()) - self._mean)

    def snapshot(self) -> dict[str, Any]:
        return {"mean": self._mean, "k": self._k, "verified_steps": self._verified_steps, "since": self._since}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._mean, self._k = float(state["mean"]), int(state["k"])
        self._verified_steps, self._since = int(state["verified_steps"]), int(state["since"])
