"""Policies around a policy, composed in the config: `{name: probed, params: {policy: {name: adaspec}, every: 64}}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
from pydantic import Field

from policies.api import DraftBundle, DraftObservation, PolicyContext, StepFeedback, StepPlan, StepView, VerifyPlan
from policies.base import BasePolicy, Params, most_k
from policies.registry import PolicySpec, build


class WrapperParams(Params):
    """Every wrapper has a policy inside."""

    policy: PolicySpec = Field(description="the policy inside")


W = TypeVar("W", bound=WrapperParams)


class Wrapper(BasePolicy[W], Generic[W]):
    """Passes every hook on to the policy inside."""

    Params = WrapperParams

    def __init__(self, params: W, context: PolicyContext) -> None:
        super().__init__(params, context)
        self.inner = build(params.policy, context)
        self.needs, self.stops_early = self.inner.needs, self.inner.stops_early

    def plan(self, view: StepView) -> StepPlan:
        return self.inner.plan(view)

    def before_draft(self, j: int) -> bool:
        return self.inner.before_draft(j)

    def after_draft(self, seen: DraftObservation) -> bool:
        return self.inner.after_draft(seen)

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        return self.inner.select(bundle)

    def feedback(self, seen: StepFeedback) -> None:
        self.inner.feedback(seen)

    def snapshot(self) -> dict[str, Any]:
        return {"inner": self.inner.snapshot()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.inner.restore(state["inner"])

    def explain(self) -> dict[str, Any]:
        return {**super().explain(), "inner": self.inner.explain()}


class ProbedParams(WrapperParams):
    """How rarely and how far to probe."""

    every: int = Field(default=64, ge=1, description="steps without drafting before a probe")
    k: int = Field(default=1, ge=1, le=64, description="draft tokens per request in a probe")


class Probed(Wrapper[ProbedParams]):
    """Forces a short draft after `every` steps at K = 0: without drafts nothing is learned, so K = 0 would be for ever.

    A probe drafts and verifies its `k` slots in full: the policy inside is not asked, only fed back.
    """

    name = "probed"
    Params = ProbedParams

    def __init__(self, params: ProbedParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._silent_steps = 0
        self._probing = False

    def plan(self, view: StepView) -> StepPlan:
        plan = self.inner.plan(view)
        self._silent_steps = self._silent_steps + 1 if plan.k == 0 else 0
        k = most_k(view, self.params.k)
        self._probing = self._silent_steps > self.params.every and k > 0
        if not self._probing:
            return replace(plan, holds=0)  # every step is counted
        self._silent_steps = 0
        return StepPlan(k=k, reason="probe", draft_memory=plan.draft_memory)

    def before_draft(self, j: int) -> bool:
        return self._probing or self.inner.before_draft(j)

    def after_draft(self, seen: DraftObservation) -> bool:
        return self._probing or self.inner.after_draft(seen)

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        return VerifyPlan() if self._probing else self.inner.select(bundle)

    def snapshot(self) -> dict[str, Any]:
        return {**super().snapshot(), "silent_steps": self._silent_steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._silent_steps = int(state["silent_steps"])


class SteadyParams(WrapperParams):
    """How far and how long a wish must differ."""

    margin: float = Field(default=0.5, ge=0, le=64, description="least distance to a new K, in draft tokens")
    dwell: int = Field(default=8, ge=1, description="steps the wish for a new K must last")


class Steady(Wrapper[SteadyParams]):
    """Hysteresis: K changes once the inner policy's mean wish over `dwell` steps is more than `margin` from it.

    While K is held above the wish, the inner policy's own stops and verify lengths rest: it planned no such draft.
    """

    name = "steady"
    Params = SteadyParams

    def __init__(self, params: SteadyParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._held: int | None = None
        self._wish = 0.0
        self._wish_steps = 0
        self._above = False

    def plan(self, view: StepView) -> StepPlan:
        plan = self.inner.plan(view)
        k = most_k(view, self._update(plan.k))
        self._above = k > plan.k
        if self._above:
            return StepPlan(k=k, reason="held", draft_memory=plan.draft_memory)
        if k == plan.k or plan.k_by_request is None:
            return replace(plan, k=k, holds=0)  # every wish is counted
        return replace(plan, k=k, holds=0, k_by_request=np.minimum(plan.k_by_request, k))

    def before_draft(self, j: int) -> bool:
        return self._above or self.inner.before_draft(j)

    def after_draft(self, seen: DraftObservation) -> bool:
        return self._above or self.inner.after_draft(seen)

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        return VerifyPlan() if self._above else self.inner.select(bundle)

    def _update(self, wish: int) -> int:
        if self._held is None:
            self._held = wish
        if abs(wish - self._held) <= self.params.margin:
            self._wish, self._wish_steps = 0.0, 0
            return self._held
        self._wish += wish
        self._wish_steps += 1
        if self._wish_steps >= self.params.dwell:
            self._held, self._wish, self._wish_steps = round(self._wish / self._wish_steps), 0.0, 0
        return self._held

    def snapshot(self) -> dict[str, Any]:
        return {**super().snapshot(), "held": self._held, "wish": self._wish, "wish_steps": self._wish_steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._held, self._wish, self._wish_steps = state["held"], float(state["wish"]), int(state["wish_steps"])
