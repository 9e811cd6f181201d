"""Grow K while drafts are accepted, shrink it when they are not."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from policies.api import PolicyContext, StepFeedback, StepPlan, StepView
from policies.base import BasePolicy, Params, most_k


class AimdParams(Params):
    """`hf` is Hugging Face's heuristic: K + 2 when all drafts were accepted, else K - 1, never below 1."""

    preset: Literal["window", "hf"] = Field(default="window", description="sliding window, or Hugging Face's rule")
    k: int = Field(default=8, ge=1, le=64, description="most draft tokens per request")
    start_k: int = Field(default=3, ge=1, le=64, description="first K")
    window_steps: int = Field(default=8, ge=1, le=1024, description="verified steps judged together")
    grow_above: float = Field(default=0.7, ge=0, le=1, description="acceptance rate above which K grows by 1")
    shrink_below: float = Field(default=0.5, ge=0, le=1, description="acceptance rate below which K is multiplied")
    shrink_factor: float = Field(default=0.5, ge=0, lt=1, description="by this; below 1 it means plain decoding")
    probe_every: int = Field(default=64, ge=1, description="plain steps before K = 1 is tried again")


class Aimd(BasePolicy[AimdParams]):
    """Additive increase, multiplicative decrease on a sliding window of the acceptance rate.

    The window starts afresh after every change, so each K is judged by its own drafts. At K = 0 a probe step comes
    every `probe_every` steps; a probe accepted above `shrink_below` brings K = 1 back (a one-way switch-off, as
    TensorRT-LLM's gate, would stay off for ever). Source: congestion control; Hugging Face transformers' assistant
    schedule "heuristic"; for a batch, "all accepted" means at least half of its requests.
    """

    name = "aimd"
    Params = AimdParams

    def __init__(self, params: AimdParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        self.k = min(params.start_k, params.k)
        self._window: deque[tuple[int, int]] = deque(maxlen=params.window_steps)  # accepted, rejections
        self._silent_steps = 0

    def plan(self, view: StepView) -> StepPlan:
        if self.k:
            return StepPlan(k=most_k(view, self.k), reason="aimd")
        self._silent_steps += 1
        k = most_k(view, 1) if self._silent_steps > self.params.probe_every else 0
        if k:
            self._silent_steps = 0
        return StepPlan(k=k, reason="probe" if k else "plain")

    def feedback(self, seen: StepFeedback) -> None:
        if not seen.verified.any():
            return
        if self.params.preset == "hf":
            tried = seen.verified > 0
            whole = float((seen.accepted[tried] == seen.verified[tried]).mean()) >= 0.5
            self.k = min(self.k + 2, self.params.k) if whole else max(self.k - 1, 1)
            return
        self._window.append((int(seen.accepted.sum()), int((seen.accepted < seen.verified).sum())))
        if len(self._window) == self.params.window_steps or not self.k:
            self._judge()

    def _judge(self) -> None:
        accepted, rejections = map(sum, zip(*self._window, strict=True))
        rate = accepted / (accepted + rejections)
        k = self.k
        if not k:
            k = int(rate >= self.params.shrink_below)
        elif rate > self.params.grow_above:
            k = min(k + 1, self.params.k)
        elif rate < self.params.shrink_below:
            k = int(k * self.params.shrink_factor)
        if k != self.k or not k:
            self._window.clear()
        self.k = k

    def snapshot(self) -> dict[str, Any]:
        return {"k": self.k, "window": [list(pair) for pair in self._window], "silent_steps": self._silent_steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.k, self._silent_steps = min(int(state["k"]), self.params.k), int(state["silent_steps"])
        self._window.clear()
        self._window.extend((int(a), int(r)) for a, r in state["window"])
