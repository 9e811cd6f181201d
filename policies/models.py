"""The two things a choice of K rests on, kept apart from the choice: what a step costs, what is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from policies.api import Feature, StepFeedback, StepView

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StepLoad:
    """The part of a step's shape that no choice of K changes."""

    batch: int  # decode requests
    context_tokens: int  # summed over them
    prefill_tokens: int = 0  # prompt tokens computed in the same step
    lag_tokens: int = 0  # tokens the draft must catch up on if it runs

    @classmethod
    def of(cls, view: StepView) -> StepLoad:
        """The step that follows `view`, taking as many prompt tokens as the step just done."""
        context, lag = int(np.add.reduce(view.context_tokens)), int(np.add.reduce(view.draft_lag_tokens))
        return cls(view.batch, context, view.prefill_tokens, lag)


class CostModel(Protocol):
    """Predicts a step's wall period in seconds: drafting, verifying and all overheads."""

    def step_s(self, load: StepLoad, k: ArrayLike, verify_tokens: ArrayLike) -> FloatArray:
        """Seconds for `k` draft steps and `verify_tokens` draft tokens verified over the batch (arrays broadcast)."""
        ...

    def observe(self, seen: StepFeedback) -> None: ...
    def snapshot(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...
    def explain(self) -> dict[str, Any]: ...


class AcceptanceModel(Protocol):
    """Predicts P(slot j accepted | slots before it accepted)."""

    def conditional(self, view: StepView, k: int) -> FloatArray:
        """[B, k] before drafting: from history only."""
        ...

    def confident(self, features: Mapping[Feature, FloatArray]) -> FloatArray:
        """Same shape as the features ([B] or [B, K]): after drafting, from pre-sample features."""
        ...

    def observe(self, seen: StepFeedback) -> None: ...
    def snapshot(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...
    def explain(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Models:
    """Shared by every policy of an engine."""

    cost: CostModel
    acceptance: AcceptanceModel

    def observe(self, seen: StepFeedback) -> None:
        """The engine calls this once a step, whatever the policy: learning survives a change of policy."""
        self.cost.observe(seen)
        self.acceptance.observe(seen)
