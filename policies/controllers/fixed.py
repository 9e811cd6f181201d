"""A static speculative length."""

from __future__ import annotations

from pydantic import Field

from policies.api import StepPlan, StepView
from policies.base import BasePolicy, Params


class FixedParams(Params):
    """The length."""

    k: int = Field(default=3, ge=0, le=64, description="draft tokens per request; more than k_max counts as k_max")


class Fixed(BasePolicy[FixedParams]):
    """The same K for every request at every step: what engines do by default."""

    name = "fixed"
    Params = FixedParams

    def plan(self, view: StepView) -> StepPlan:
        return StepPlan(k=min(self.params.k, view.k_max), reason="fixed")
