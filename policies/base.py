"""What a policy does unless it says otherwise: draft to the plan, verify everything, learn nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from policies.api import (
    DraftBundle,
    DraftObservation,
    Feature,
    PolicyContext,
    StepFeedback,
    StepPlan,
    StepView,
    VerifyPlan,
)


class Params(BaseModel):
    """Base of every policy's parameters: frozen, and a misspelt name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


P = TypeVar("P", bound=Params)


def most_k(view: StepView, k: int) -> int:
    """`k` cut down to what the engine's buffers and at least one request of the batch can take."""
    return min(k, view.k_max, int(np.maximum.reduce(view.k_limit, initial=0)))


class BasePolicy(Generic[P]):
    """Drafts to its plan and verifies all of it; a policy overrides what it does otherwise, `plan` at least."""

    name: str = "unnamed"
    needs: frozenset[Feature] = frozenset()
    stops_early: bool = False
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: P, context: PolicyContext) -> None:
        self.params = params
        self.context = context

    def plan(self, view: StepView) -> StepPlan:
        raise NotImplementedError(f"policy {self.name!r} has no plan()")

    def before_draft(self, j: int) -> bool:
        """False: do not draft slot `j` (0-based)."""
        return True

    def after_draft(self, seen: DraftObservation) -> bool:
        """False: stop here; what is drafted is kept."""
        return True

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        return VerifyPlan()

    def feedback(self, seen: StepFeedback) -> None:
        return None

    def snapshot(self) -> dict[str, Any]:
        """Learned state as JSON-able values; `restore(snapshot())` is the identity."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        return None

    def explain(self) -> dict[str, Any]:
        """What an operator should see: parameters and learned state."""
        return {"params": self.params.model_dump(mode="json"), "state": self.snapshot()}


class FromCallable(BasePolicy[Params]):
    """A plain `StepView -> K` (or `-> StepPlan`) as a policy."""

    def __init__(self, choose: Callable[[StepView], int | StepPlan], params: Params, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._choose = choose
        self.name = getattr(choose, "__name__", "callable")

    def plan(self, view: StepView) -> StepPlan:
        chosen = self._choose(view)
        return chosen if isinstance(chosen, StepPlan) else StepPlan(k=chosen, reason=self.name)
