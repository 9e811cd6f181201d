"""Policies that misbehave, each in the hook its parameters name, and one that records what it is shown."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from policies.api import (
    Cut,
    DraftBundle,
    DraftObservation,
    Feature,
    PolicyContext,
    StepFeedback,
    StepPlan,
    StepView,
    VerifyPlan,
)
from policies.base import BasePolicy, Params

Hook = Literal[
    "never", "init", "plan", "before_draft", "after_draft", "select", "feedback", "explain", "snapshot", "restore"
]


def loop() -> None:
    """Endless, and the watchdog's timer comes at once: no test waits for it, none fails because it came early."""
    while True:
        signal.raise_signal(signal.SIGALRM)


class FaultyParams(Params):
    """Where it goes wrong, and how."""

    hook: Hook = "never"
    fault: Literal["raise", "loop", "exit", "stopped"] = "raise"  # stopped: the process is told to end


class Faulty(BasePolicy[FaultyParams]):
    """Drafts 3 tokens until its hook comes."""

    name = "faulty"
    stops_early = True
    Params = FaultyParams

    def __init__(self, params: FaultyParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._at("init")

    def _at(self, hook: Hook) -> None:
        if self.params.hook != hook:
            return
        match self.params.fault:
            case "raise":
                raise ArithmeticError(hook)
            case "exit":
                sys.exit(hook)
            case "stopped":
                signal.raise_signal(signal.SIGTERM)
            case "loop":
                loop()

    def plan(self, view: StepView) -> StepPlan:
        self._at("plan")
        return StepPlan(k=3, reason="faulty")

    def before_draft(self, j: int) -> bool:
        self._at("before_draft")
        return True

    def after_draft(self, seen: DraftObservation) -> bool:
        self._at("after_draft")
        return True

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        self._at("select")
        return VerifyPlan()

    def feedback(self, seen: StepFeedback) -> None:
        self._at("feedback")

    def explain(self) -> dict[str, Any]:
        self._at("explain")
        return {}

    def snapshot(self) -> dict[str, Any]:
        self._at("snapshot")
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._at("restore")


class AnswerParams(Params):
    """Any answer, possible or not. `cut` is given to `Cut` by keyword."""

    plan: dict[str, Any] = Field(default={"k": 3})
    cut: dict[str, Any] | None = None
    lengths: Any = None


class Answers(BasePolicy[AnswerParams]):
    """Answers what its parameters say and keeps the bundles it was shown."""

    name = "answers"
    needs: frozenset[Feature] = frozenset({"top1", "sampled_p"})
    Params = AnswerParams

    def __init__(self, params: AnswerParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        self.shown: list[DraftBundle] = []
        self.seen: list[StepFeedback] = []

    def plan(self, view: StepView) -> StepPlan:
        cut = None if self.params.cut is None else Cut(**self.params.cut)
        return StepPlan(**self.params.plan, cut=cut)

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        self.shown.append(bundle)
        return VerifyPlan(self.params.lengths)

    def feedback(self, seen: StepFeedback) -> None:
        self.seen.append(seen)


class Rich(BasePolicy[Params]):
    """Explains itself in numpy, and cannot be given its own state back."""

    name = "rich"

    def plan(self, view: StepView) -> StepPlan:
        return StepPlan(k=1, reason="rich")

    def explain(self) -> dict[str, Any]:
        return {"count": np.int64(3), "table": np.arange(2), "who": object()}

    def restore(self, state: Mapping[str, Any]) -> None:
        raise KeyError("old state")


class Unbuildable(BasePolicy[Params]):
    """Fails in its constructor."""

    def __init__(self, params: Params, context: PolicyContext) -> None:
        raise RuntimeError("no such file")


class Scribbles(BasePolicy[Params]):
    """Writes into the arrays of its view."""

    name = "scribbles"

    def plan(self, view: StepView) -> StepPlan:
        view.temperature[:] = 1.0
        return StepPlan(k=1)


def two(view: StepView) -> int:
    return 2


def zigzag(view: StepView) -> int:
    return 1 + (view.step + 1) % 2
