"""A policy that stops speculating for a while, by a request's own age. Imported inside the engine's worker."""

from pydantic import Field

from policies.api import StepPlan, StepView
from policies.base import BasePolicy, Params


class OffBetweenParams(Params):
    first: int = Field(ge=0)
    off: int = Field(ge=0)


class OffBetween(BasePolicy[OffBetweenParams]):
    """K = 3, but 0, held for four steps, while the request's emitted tokens are in [first, first + off)."""

    name = "off_between"
    Params = OffBetweenParams

    def plan(self, view: StepView) -> StepPlan:
        since = int(view.emitted_tokens.min()) - self.params.first
        return StepPlan(0 if 0 <= since < self.params.off else 3, "off_between", holds=3)
