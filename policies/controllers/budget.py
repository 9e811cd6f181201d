"""A verify budget for the whole batch, spent on the likeliest slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from policies.api import Cut, DraftBundle, Feature, PolicyContext, StepPlan, StepView, VerifyPlan
from policies.base import BasePolicy, Params, most_k
from policies.models import StepLoad
from policies.survival import Ranking, prefix_survival, usable_slots


class BudgetParams(Params):
    """With `capacity_tokens` this is TETRIS, without it DSpark's scheduler."""

    k: int = Field(default=5, ge=0, le=64, description="draft tokens per request, always drafted")
    capacity_tokens: int | None = Field(default=None, ge=0, description="draft tokens verified per step; none: by cost")
    calibrated: bool = Field(default=True, description="survivals from the acceptance model, not the draft's own")


class Budget(BasePolicy[BudgetParams]):
    """Verifies the m likeliest slots; m maximises expected tokens / cost over the survivals of the step before.

    Fixing m before drafting keeps sampled drafts exact; ranking by current survivals does not bias them, since a
    request's later slots never outrank its earlier ones. Drafting is never skipped: its cost is not recovered.
    Source: DSpark, arXiv 2607.05147 (asynchronous variant), as in vLLM's adaptive verification; TETRIS, 2502.15197.
    """

    name = "budget"
    needs: frozenset[Feature] = frozenset({"top1"})
    Params = BudgetParams

    def __init__(self, params: BudgetParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._per_request = float(params.k)  # slots worth verifying, as of the step before

    def plan(self, view: StepView) -> StepPlan:
        k = most_k(view, self.params.k)
        return StepPlan(k=k, reason="budget", cut=Cut(budget_tokens=self._budget(view.batch)))

    def _budget(self, batch: int) -> int:
        capacity = self.params.capacity_tokens
        return round(self._per_request * batch) if capacity is None else capacity

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        batch, features = bundle.view.batch, bundle.features
        confidence = self.context.models.acceptance.confident(features) if self.params.calibrated else features["top1"]
        survival = prefix_survival(confidence, usable_slots(bundle))
        ranking = Ranking(survival)
        lengths = ranking.lengths(min(self._budget(batch), int(np.count_nonzero(survival))))
        load = StepLoad.of(bundle.view)
        cost_s = self.context.models.cost.step_s(load, bundle.k, np.arange(survival.size + 1))
        self._per_request = int(((batch + ranking.totals()) / cost_s).argmax()) / batch
        return VerifyPlan(lengths)

    def snapshot(self) -> dict[str, Any]:
        return {"per_request": self._per_request}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._per_request = float(state["per_request"])
