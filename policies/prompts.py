"""What the prompts that join decode steps do to the price of drafting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from policies.api import FloatArray, StepFeedback
from policies.models import CostModel, StepLoad

KEEP = 0.98
"""Weight of the past per step."""


class Prompts:
    """Prompt tokens per second, and per step that has any: ageing means.

    Prompts come with time: a longer step meets more of them. Where each token costs, that lengthens every choice of K
    in the same proportion; but where they fill a pass up to the size from which tokens cost, verifying is not free.
    That a running draft computes them too is not priced: plain decoding only puts it off until drafting begins again.
    """

    def __init__(self) -> None:
        self._tokens = self._steps = self._seconds = 0.0

    def observe(self, seen: StepFeedback) -> None:
        if seen.idle or not 0 < seen.step_s < np.inf:
            return
        self._tokens = KEEP * self._tokens + seen.prefill_tokens
        self._steps = KEEP * self._steps + (seen.prefill_tokens > 0)
        self._seconds = KEEP * self._seconds + seen.step_s

    def step_s(self, cost: CostModel, load: StepLoad, k: ArrayLike, verified: ArrayLike) -> FloatArray:
        """Expected seconds of a step that verifies `verified` tokens over the batch, prompts included.

        T = (1 - q) T0 + q T1, where T1 has a usual load of prompts beside it, and the share q of such steps grows with
        T itself: q = T x (prompt loads per second).
        """
        alone_s = cost.step_s(load, k, verified)
        if self._tokens < 1.0:
            return alone_s
        prompts = load.prefill_tokens + round(self._tokens / self._steps)
        beside = StepLoad(load.batch, load.context_tokens, prompts, load.lag_tokens)
        more_s = cost.step_s(beside, k, verified) - alone_s
        return np.asarray(alone_s / np.maximum(1.0 - more_s * (self._steps / self._seconds), 0.1))

    def snapshot(self) -> dict[str, Any]:
        return {"tokens": self._tokens, "steps": self._steps, "seconds": self._seconds}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._tokens, self._steps, self._seconds = (float(state[name]) for name in ("tokens", "steps", "seconds"))
