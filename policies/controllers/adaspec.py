"""AdaSpec: draft while the predicted efficiency grows, then verify what is worth its time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from policies.api import (
    Cut,
    DraftBundle,
    DraftObservation,
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
from policies.estimators.slo import breaks_slo, needed_tokens, within_slo
from policies.models import StepLoad
from policies.survival import Ranking, prefix_survival, usable_slots


class AdaSpecParams(Params):
    """Defaults of the released scripts where they had any."""

    k: int = Field(default=8, ge=0, le=64, description="most draft tokens per request")
    prior_confidence: float = Field(default=0.6, ge=0, le=1, description="draft confidence assumed before any is seen")
    keep: float = Field(default=0.98, ge=0, lt=1, description="weight of the past in the mean confidence, per step")
    prune: bool = Field(default=True, description="verify only the slots that pay for their time")
    slo: bool = Field(default=True, description="negative efficiency for shapes that break a request's TPOT objective")
    calibrated: bool = Field(default=False, description="confidence from the acceptance model, not the draft's own")


class AdaSpec(BasePolicy[AdaSpecParams]):
    """Predict - execute - correct on efficiency (B + sum of survivals) / T, T from the cost model.

    Source: AdaSpec, arXiv 2503.05096 (SoCC'25), its adaptive drafter, confidence-prior verifier and SLO-aware
    estimator. Mended: its elimination drains one request before it looks at the next (here: survival sorting, every
    total tried); the mean confidence learned only from steps that paid; the objective was tested on a step's time
    (here: time per expected token against what the request has left). The draft's confidence is its top-1
    probability: the same number for the argmax drafts it was published with, and safe where drafts are sampled.
    """

    name = "adaspec"
    needs: frozenset[Feature] = frozenset({"top1"})
    stops_early = True
    Params = AdaSpecParams

    def __init__(self, params: AdaSpecParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        self.mean_confidence = params.prior_confidence
        self._last_k = 1
        # This step's, set by plan():
        self._view: StepView
        self._load: StepLoad
        self._cost_s: list[float]  # [K+1] by uniform length
        self._need: FloatArray | None  # [K+1, B] tokens that each length's step must emit; None: any will do
        self._most_needed: list[float]  # [K+1] of any request
        self._survival: FloatArray  # [B] of the slots drafted so far
        self._tokens: FloatArray  # [B] expected from them
        self._sums = (0.0, 0.0)  # of both
        self._best: float  # efficiency of what is drafted

    def plan(self, view: StepView) -> StepPlan:
        k = most_k(view, self.params.k)
        if k == 0:
            return StepPlan(k=0, reason="no_room")
        self._begin(view, k)
        if self._predicted(0) <= self._best:
            return StepPlan(k=0, reason="plain")
        return StepPlan(k=k, reason="adaspec", cut=self._cut(k))

    def before_draft(self, j: int) -> bool:
        if j == 0:  # plan() predicted it
            return True
        return self._predicted(j) >= self._best

    def after_draft(self, seen: DraftObservation) -> bool:
        self._survival = self._masked(self._survival * self._confidence(seen.features), seen.j)
        self._tokens = self._tokens + self._survival
        survival = float(np.add.reduce(self._survival))
        self._sums = survival, self._sums[1] + survival
        before, self._best = self._best, self._sums[1] / self._cost_s[seen.j + 1]
        if self._best >= before and self._breaks(seen.j + 1, self._tokens):
            self._best = -1.0
        return self._best >= before

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        self._last_k = bundle.k
        if not self.params.prune:
            return VerifyPlan()
        survival = prefix_survival(self._confidence(bundle.features), usable_slots(bundle))
        cost_s = self._cost_by_total(bundle.k, survival.size)
        ranking = Ranking(survival)
        efficiency = (bundle.view.batch + ranking.totals()) / cost_s
        best = int(efficiency.argmax())
        lengths = ranking.lengths(best)
        if self._need is None or self._keeps_slo(survival, lengths, float(cost_s[best])):
            return VerifyPlan(lengths)
        efficiency[breaks_slo(bundle.view, ranking, cost_s, self._cost_s[0])] = -1.0
        return VerifyPlan(ranking.lengths(int(efficiency.argmax())))

    def _keeps_slo(self, survival: FloatArray, lengths: IntArray, step_s: float) -> bool:
        taken = survival * (np.arange(survival.shape[1]) < lengths[:, None])
        return within_slo(self._view, 1.0 + np.add.reduce(taken, axis=1), step_s, self._cost_s[0])

    def feedback(self, seen: StepFeedback) -> None:
        if seen.k and seen.batch:
            mean = float(self._confidence(seen.features).mean())
            self.mean_confidence += (1 - self.params.keep) * (mean - self.mean_confidence)

    def _begin(self, view: StepView, k: int) -> None:
        self._view, self._load = view, StepLoad.of(view)
        ks = np.arange(k + 1)
        cost_s = self.context.models.cost.step_s(self._load, ks, ks * view.batch)
        self._cost_s, self._need = cost_s.tolist(), None
        self._short = bool(np.minimum.reduce(view.k_limit) < k)
        if self.params.slo and np.minimum.reduce(view.tpot_slo_s) < np.inf:
            # A request that plain decoding cannot save only asks to be no slower per token than that.
            plain = (cost_s / cost_s[0])[:, None]
            self._need = np.minimum(needed_tokens(view, cost_s[:, None]), plain)
            self._most_needed = np.maximum.reduce(self._need, axis=1).tolist()
        self._survival = self._tokens = np.ones(view.batch)
        self._sums = float(view.batch), float(view.batch)
        self._best = view.batch / self._cost_s[0]

    def _predicted(self, j: int) -> float:
        """Efficiency once slot `j` is drafted, at the mean confidence; -1 where it breaks an objective."""
        if self._short:
            survival = self._masked(self._survival, j)
            total = self._sums[1] + self.mean_confidence * float(np.add.reduce(survival))
        else:
            survival = self._survival
            total = self._sums[1] + self.mean_confidence * self._sums[0]
        efficiency = total / self._cost_s[j + 1]
        if efficiency < self._best or not self._breaks(j + 1, self._tokens, survival):
            return efficiency
        return -1.0

    def _breaks(self, k: int, tokens: FloatArray, survival: FloatArray | None = None) -> bool:
        """Whether `k` uniform slots that emit `tokens` [B] (and `survival` x mean confidence) leave an objective."""
        if self._need is None or self._most_needed[k] <= 1.0:
            return False
        if survival is not None:
            tokens = tokens + survival * self.mean_confidence
        return bool(np.logical_or.reduce(tokens < self._need[k]))

    def _masked(self, survival: FloatArray, j: int) -> FloatArray:
        return survival * (self._view.k_limit > j) if self._short else survival

    def _confidence(self, features: Mapping[Feature, FloatArray]) -> FloatArray:
        if self.params.calibrated:
            return self.context.models.acceptance.confident(features)
        return features["top1"]

    def _cost_by_total(self, k: int, slots: int) -> FloatArray:
        """[slots+1] seconds; drafting is spent whatever is verified."""
        cost_s = self.context.models.cost.step_s(self._load, k, np.arange(slots + 1))
        return np.asarray(np.maximum.accumulate(cost_s))

    def _cut(self, k: int) -> Cut | None:
        """The pruning rule for requests with sampled drafts: fixed now, priced at the last draft length."""
        if not self.params.prune or not (self._view.temperature > 0).any():
            return None
        return Cut(cost_s=self._cost_by_total(min(self._last_k, k), k * self._view.batch))

    def snapshot(self) -> dict[str, Any]:
        return {"mean_confidence": self.mean_confidence, "last_k": self._last_k}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.mean_confidence, self._last_k = float(state["mean_confidence"]), int(state["last_k"])
