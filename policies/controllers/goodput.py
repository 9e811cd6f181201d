"""TurboSpec: one K for the batch, by predicted tokens per second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from policies.api import FloatArray, PolicyContext, StepFeedback, StepPlan, StepView
from policies.base import BasePolicy, Params, most_k
from policies.models import StepLoad


class GoodputParams(Params):
    """Defaults of the author's code; `fade` is ours."""

    k: int = Field(default=8, ge=0, le=64, description="most draft tokens per request")
    every: int = Field(default=20, ge=1, description="steps between choices; a new batch size is chosen for at once")
    plain_bonus: float = Field(
        default=1.1, ge=1, le=4, description="what drafting must beat, relative to plain decoding"
    )
    prior: float = Field(default=0.7, ge=0, le=1, description="acceptance rate before any was seen")
    prior_weight: float = Field(default=4.0, gt=0, description="in tried draft tokens")
    keep: float = Field(default=0.85, ge=0, lt=1, description="weight of the past per verified step")
    fade: float = Field(default=0.99, ge=0, le=1, description="the same per plain step, back towards the prior")


class Goodput(BasePolicy[GoodputParams]):
    """argmax over k of B (1 + a + ... + a^k) / T(k), a from an ageing censored maximum likelihood.

    Source: TurboSpec / SmartSpec, arXiv 2406.14066. Mended: a = accepted / (accepted + rejections), where
    accepted / drafted counts tokens that were never tried; every k is compared, not only up to the first decrease; the
    estimate fades to its prior while nothing is drafted, so K = 0 is not for ever.
    """

    name = "goodput"
    Params = GoodputParams

    def __init__(self, params: GoodputParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._accepted, self._rejected = 0.0, 0.0
        self._k, self._batch, self._since = 0, -1, 0

    @property
    def acceptance(self) -> float:
        weight = self.params.prior_weight
        return (self._accepted + weight * self.params.prior) / (self._accepted + self._rejected + weight)

    def plan(self, view: StepView) -> StepPlan:
        self._since += 1
        if self._since > self.params.every or view.batch != self._batch:
            self._since, self._batch = 1, view.batch
            self._k = int(self.rates(view).argmax())
        return StepPlan(k=most_k(view, self._k), reason="goodput")

    def rates(self, view: StepView) -> FloatArray:
        """[K+1] predicted tokens/s by k; plain decoding's with its bonus."""
        ks = np.arange(min(self.params.k, view.k_max) + 1)
        step_s = self.context.models.cost.step_s(StepLoad.of(view), ks, ks * view.batch)
        rates = view.batch * np.cumsum(self.acceptance**ks) / step_s
        rates[0] *= self.params.plain_bonus
        return np.asarray(rates)

    def feedback(self, seen: StepFeedback) -> None:
        if not seen.verified.any():
            self._accepted, self._rejected = self.params.fade * self._accepted, self.params.fade * self._rejected
            return
        self._accepted = self.params.keep * self._accepted + float(seen.accepted.sum())
        self._rejected = self.params.keep * self._rejected + float((seen.accepted < seen.verified).sum())

    def snapshot(self) -> dict[str, Any]:
        counts = {"accepted": self._accepted, "rejected": self._rejected}
        return {**counts, "k": self._k, "batch": self._batch, "since": self._since}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._accepted, self._rejected = float(state["accepted"]), float(state["rejected"])
        self._k = min(int(state["k"]), self.params.k)
        self._batch, self._since = int(state["batch"]), int(state["since"])
