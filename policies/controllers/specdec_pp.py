"""SpecDec++: stop when a rejection has become likely."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from policies.api import (
    DraftBundle,
    DraftObservation,
    Feature,
    FloatArray,
    PolicyContext,
    StepPlan,
    StepView,
    VerifyPlan,
)
from policies.base import BasePolicy, Params, most_k
from policies.survival import usable_slots


class SpecDecPPParams(Params):
    """The paper's example threshold and bounds, but for `k`, which the engine's buffers bound."""

    threshold: float = Field(default=0.3, ge=0, le=1, description="probability of a rejection at which a chain stops")
    least_k: int = Field(default=2, ge=0, le=64, description="draft tokens before a chain may stop")
    k: int = Field(default=20, ge=0, le=64, description="most draft tokens per request")


class SpecDecPP(BasePolicy[SpecDecPPParams]):
    """A chain stops after the slot at which 1 - prod c > threshold, kept. The batch stops with its last chain.

    c is the acceptance model's estimate where the paper trains a head on the draft's hidden state.
    Source: SpecDec++, arXiv 2405.19715: the optimal stopping rule is a threshold on the chance of a rejection.
    """

    name = "specdec_pp"
    needs: frozenset[Feature] = frozenset({"top1"})
    stops_early = True
    Params = SpecDecPPParams

    def __init__(self, params: SpecDecPPParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._survival: FloatArray = np.zeros(0)

    def plan(self, view: StepView) -> StepPlan:
        self._survival = np.ones(view.batch)
        return StepPlan(k=most_k(view, self.params.k), reason="specdec_pp")

    def after_draft(self, seen: DraftObservation) -> bool:
        self._survival = self._survival * self.context.models.acceptance.confident(seen.features)
        return seen.j + 1 < self.params.least_k or bool((1.0 - self._survival <= self.params.threshold).any())

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        survival = np.cumprod(self.context.models.acceptance.confident(bundle.features), axis=1)
        alive = 1.0 - survival <= self.params.threshold
        alive[:, : max(self.params.least_k - 1, 0)] = True
        return VerifyPlan(np.minimum(np.logical_and.accumulate(alive, axis=1).sum(1) + 1, usable_slots(bundle)))
