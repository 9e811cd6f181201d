"""No speculation."""

from __future__ import annotations

from policies.api import HOLDS, StepPlan, StepView
from policies.base import BasePolicy, Params


class Off(BasePolicy[Params]):
    """K = 0 always: plain decoding. The draft model does not run."""

    name = "off"

    def plan(self, view: StepView) -> StepPlan:
        return StepPlan(k=0, reason="off", holds=HOLDS)
