"""Nightjar: a bandit over K for each batch size."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any, Literal

import numpy as np
from pydantic import Field

from policies.api import FloatArray, PolicyContext, StepFeedback, StepPlan, StepView
from policies.base import BasePolicy, Params, most_k
from policies.models import StepLoad


class NightjarParams(Params):
    """Watermarks are shares of the KV cache."""

    k: int = Field(default=5, ge=0, le=64, description="longest arm; the arms are 0..k")
    batch_width: int = Field(default=2, ge=1, description="batch sizes per context")
    contexts: int = Field(default=128, ge=1, le=4096, description="the last one takes all larger batches")
    switching: bool = Field(default=True, description="charge the draft's catch-up for leaving K = 0")
    offload_below: float | None = Field(
        default=None, ge=0, le=1, description="free KV below which to offload the draft; simulator only"
    )
    reload_above: float = Field(default=0.3, ge=0, le=1, description="free KV above which to load it again")
    persist_steps: int = Field(default=20, ge=1, description="steps at K = 0 and low KV before offloading")


class Nightjar(BasePolicy[NightjarParams]):
    """ADA-BINGREEDY: per batch context, an arm is locked for a bin of steps; new bins explore ever more rarely.

    Block j of a context has 2^(j-1) steps in bins of their square root; bin b explores with probability 1 / sqrt(b), an
    arm never tried first, else plays argmin over K of seconds per token + 1[last K = 0 and K > 0] C_switch / K.
    Source: Nightjar, arXiv 2512.22420 (bins as in its public code). C_switch comes from the cost model's catch-up term
    instead of an offline table. The draft's residency is returned as `draft_memory`; while offloaded, K = 0.
    """

    name = "nightjar"
    Params = NightjarParams

    def __init__(self, params: NightjarParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        if params.offload_below is not None and not context.offloads:
            raise ValueError("offload_below: this engine keeps its draft in memory; leave it out")
        self._arms = min(params.k, context.k_max) + 1
        self._sums = np.zeros((2, params.contexts, self._arms))  # seconds, tokens per request
        self._steps = np.zeros(params.contexts, np.int64)
        self._bins = np.zeros(params.contexts, np.int64)
        self._left = np.zeros(params.contexts, np.int64)  # steps left in the bin
        self._arm = np.zeros(params.contexts, np.int64)
        self._last_k, self._low_steps, self._offloaded = 0, 0, False

    def plan(self, view: StepView) -> StepPlan:
        memory = self._memory(view)
        if self._offloaded or not view.batch:
            return StepPlan(k=0, reason="offloaded", draft_memory=memory)
        at = self._context_of(view.batch)
        if self._left[at] == 0:
            self._new_bin(at, view)
        self._left[at] -= 1
        self._steps[at] += 1
        self._last_k = most_k(view, int(self._arm[at]))
        return StepPlan(k=self._last_k, reason="nightjar", draft_memory=memory)

    def _context_of(self, batch: int) -> int:
        return min(batch // self.params.batch_width, self.params.contexts - 1)

    def _new_bin(self, at: int, view: StepView) -> None:
        block = int(self._steps[at] + 1).bit_length()
        self._left[at] = max(1, isqrt(2 ** (block - 1)))
        self._bins[at] += 1
        draw = np.random.default_rng((self.context.seed, at, int(self._bins[at])))
        untried = np.flatnonzero(self._sums[1, at] == 0)
        if draw.random() * np.sqrt(self._bins[at]) < 1.0:
            self._arm[at] = draw.choice(untried if len(untried) else self._arms)
        else:
            self._arm[at] = int(self._losses(at, view).argmin())

    def _losses(self, at: int, view: StepView) -> FloatArray:
        """[arms] seconds per token of a request, the cost of starting included; an arm never tried is infinite."""
        seconds, tokens = self._sums[:, at]
        losses = np.where(tokens > 0, seconds / np.maximum(tokens, 1e-12), np.inf)
        if self.params.switching and self._last_k == 0:
            load, ks = StepLoad.of(view), np.arange(1, self._arms)
            fresh = StepLoad(load.batch, load.context_tokens, load.prefill_tokens)
            cost = self.context.models.cost
            losses[1:] += (cost.step_s(load, ks, 0) - cost.step_s(fresh, ks, 0)) / ks
        return np.asarray(losses)

    def _memory(self, view: StepView) -> Literal["keep", "offload", "reload"]:
        free, low = view.free_kv_fraction, self.params.offload_below
        if low is None or free is None:
            return "keep"
        if self._offloaded:
            self._offloaded = free <= self.params.reload_above
            return "keep" if self._offloaded else "reload"
        self._low_steps = self._low_steps + 1 if free < low and self._last_k == 0 else 0
        if self._low_steps < self.params.persist_steps:
            return "keep"
        self._low_steps, self._offloaded = 0, True
        return "offload"

    def feedback(self, seen: StepFeedback) -> None:
        if seen.idle or not seen.batch or seen.k >= self._arms:
            return
        at = self._context_of(seen.batch)
        self._sums[0, at, seen.k] += seen.step_s
        self._sums[1, at, seen.k] += 1.0 + float(seen.accepted.sum()) / seen.batch

    def snapshot(self) -> dict[str, Any]:
        used = np.flatnonzero(self._steps)
        rows = np.stack([self._steps, self._bins, self._left, self._arm])[:, used]
        return {
            "batch_width": self.params.batch_width,
            "contexts": used.tolist(),
            "sums": self._sums[:, used].tolist(),
            "rows": rows.tolist(),
            "last": [self._last_k, self._low_steps, int(self._offloaded)],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        if state.get("batch_width", self.params.batch_width) != self.params.batch_width:
            return  # its contexts were other batch sizes
        used = np.asarray(state["contexts"], np.int64)
        known = len(state["sums"][0][0]) if len(used) else self._arms
        sums = np.asarray(state["sums"], np.float64).reshape(2, len(used), known)
        arms = min(self._arms, sums.shape[2])
        kept = used < self.params.contexts
        self._sums[:, used[kept], :arms] = sums[:, kept, :arms]
        rows = np.asarray(state["rows"], np.int64).reshape(4, len(used))[:, kept]
        self._steps[used[kept]], self._bins[used[kept]], self._left[used[kept]], self._arm[used[kept]] = rows
        self._arm = np.minimum(self._arm, self._arms - 1)
        self._last_k, self._low_steps, offloaded = map(int, state["last"])
        self._offloaded = bool(offloaded)
