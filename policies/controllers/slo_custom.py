"""AdaServe: what each request's SLO needs first, then what the batch gains most from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from policies.api import (
    Cut,
    DraftBundle,
    Feature,
    FloatArray,
    IntArray,
    PolicyContext,
    StepFeedback,
    StepPlan,
    StepView,
    VerifyPlan,
)
from policies.base import BasePolicy, Params, most_k
from policies.estimators.slo import needed_tokens
from policies.survival import Ranking, prefix_survival, usable_slots


class SloCustomParams(Params):
    """`budget_tokens` must be found per machine: the pass size at which verifying turns dear."""

    least_k: int = Field(default=1, ge=1, le=64, description="D_min: speculation is always on")
    k: int = Field(default=8, ge=1, le=64, description="D_max")
    budget_tokens: int = Field(default=64, ge=1, description="B1: tokens of a verify pass, one per request included")
    breadth: float = Field(default=2.0, ge=1, le=64, description="tokens drafted per token of the budget")
    spare_requests: int = Field(default=0, ge=0, description="c1, added to the batch when the depth is chosen")
    most_urgent_tokens: int = Field(default=8, ge=1, le=64, description="n_max: slots one late request may take")
    calibrated: bool = Field(default=True, description="survivals from the acceptance model, not the draft's own")


class SloCustom(BasePolicy[SloCustomParams]):
    """Phase 1: in order of need A(r), slots until the expected tokens reach it. Phase 2: the likeliest slots left.

    depth = clip(floor(breadth B1 / (n + c1)) - 1), breadth standing in for the tree's width.
    A(r) = (l + t_spec) / TPOT - o, capped at depth + 1.
    Source: AdaServe, arXiv 2501.12162 (EuroSys'26), algorithm 2, on chains instead of trees; line 15 read as the path
    probability. t_spec is a running mean of step times.
    """

    name = "slo_custom"
    needs: frozenset[Feature] = frozenset({"top1"})
    Params = SloCustomParams

    def __init__(self, params: SloCustomParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._step_s = 0.0

    def plan(self, view: StepView) -> StepPlan:
        most = self.params.breadth * self.params.budget_tokens
        depth = int(most / max(view.batch + self.params.spare_requests, 1)) - 1
        k = most_k(view, min(max(depth, self.params.least_k), self.params.k))
        return StepPlan(k=k, reason="slo_custom", cut=Cut(budget_tokens=self._budget(view.batch)))

    def _budget(self, batch: int) -> int:
        """Draft tokens: what the pass holds beside one token per request, and the least depth at any rate."""
        return max(self.params.budget_tokens - batch, self.params.least_k * batch)

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        features = bundle.features
        confidence = self.context.models.acceptance.confident(features) if self.params.calibrated else features["top1"]
        survival = prefix_survival(confidence, usable_slots(bundle))
        need = needed_tokens(bundle.view, self._step_s)
        budget = min(self._budget(bundle.view.batch), int(np.count_nonzero(survival)))
        first = urgent_lengths(survival, need, budget, self.params.most_urgent_tokens)
        ahead = np.where(np.arange(bundle.k) < first[:, None], 2.0, survival)  # phase 1's slots outrank all others
        return VerifyPlan(Ranking(ahead).lengths(budget))

    def feedback(self, seen: StepFeedback) -> None:
        if not seen.idle:
            self._step_s += (0.1 if self._step_s else 1.0) * (seen.step_s - self._step_s)

    def snapshot(self) -> dict[str, Any]:
        return {"step_s": self._step_s}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._step_s = float(state["step_s"])


def urgent_lengths(survival: FloatArray, need: FloatArray, budget: int, most: int) -> IntArray:
    """[B] slots by which each request's expected tokens reach its `need` [B], the neediest served first."""
    k = survival.shape[1]
    expected = 1.0 + np.cumsum(survival, axis=1)
    useful = np.minimum((survival > 0).sum(1), most)
    wanted = np.where(need <= 1.0, 0, np.minimum((expected < need[:, None]).sum(1) + 1, useful))
    order = np.argsort(-np.minimum(need, k + 1.0), kind="stable")
    spent = np.cumsum(wanted[order])
    lengths = np.zeros(len(need), np.int64)
    lengths[order] = np.clip(budget - (spent - wanted[order]), 0, wanted[order])
    return lengths
