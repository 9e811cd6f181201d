"""The probability oracle: true step times, true acceptance probabilities, switching for nothing.

A plain step leaves no gap in its draft's cache. Prompts are not free: its draft computes them like any other's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from loadgen.sim.rng import FloatArray
from loadgen.sim.workload import IntArray
from policies.api import DraftBundle, PolicyContext, StepPlan, StepView, VerifyPlan
from policies.base import BasePolicy, Params


class Seer(Protocol):
    """What only a simulator knows about its present batch of B requests."""

    def acceptance(self, k: int) -> FloatArray:
        """True conditional acceptance of the next k tokens [B, k]."""
        ...

    def step_s(self, k: int) -> FloatArray:
        """True seconds of the next step with k draft passes, by draft tokens verified [B * k + 1].

        Less what its prompts take in a plain step: that time is spent whatever K is, and counting it makes every draft
        token look cheap (an oracle that counts it loses up to 10 % goodput at high load).
        """
        ...


def best(conditional: FloatArray, k_limit: IntArray, times: Callable[[int], FloatArray]) -> tuple[int, IntArray]:
    """K and verify lengths [B] with the most expected tokens per second.

    For each K the best set of n slots is the n of largest prefix survival, which is a set of prefixes.
    """
    batch, k_max = conditional.shape
    survival = np.asarray(np.cumprod(conditional, axis=1), np.float64)
    survival[np.arange(k_max) >= k_limit[:, None]] = 0.0
    chosen, rate = (0, 0, survival), batch / times(0)[0]
    for k in range(1, k_max + 1):
        gains = np.sort(survival[:, :k], axis=None)[::-1]
        rates = (batch + np.concatenate(([0.0], np.cumsum(gains)))) / times(k)
        n = int(np.argmax(rates))
        if rates[n] > rate:
            chosen, rate = (k, n, survival[:, :k]), rates[n]
    k, n, slots = chosen
    return k, _lengths(slots, n) if n else np.zeros(batch, np.int64)


def _lengths(survival: FloatArray, n: int) -> IntArray:
    """[B] how many of the n largest slots each request has. The stable sort keeps prefixes where values tie."""
    order = np.argsort(-survival.T.ravel(), kind="stable")[:n]
    return np.bincount(order % len(survival), minlength=len(survival)).astype(np.int64)


class Oracle(BasePolicy[Params]):
    """Maximises expected tokens / true time of each step. Only a simulator can run it."""

    name = "oracle"

    def __init__(self, context: PolicyContext) -> None:
        super().__init__(Params(), context)
        self.seer: Seer | None = None  # the engine it runs in, set once that exists
        self._lengths: IntArray = np.zeros(0, np.int64)

    def plan(self, view: StepView) -> StepPlan:
        if self.seer is None:
            raise RuntimeError("the oracle runs in a simulator only")
        k, self._lengths = best(self.seer.acceptance(view.k_max), view.k_limit, self.seer.step_s)
        return StepPlan(k=k, reason="oracle")

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        return VerifyPlan(np.minimum(self._lengths, bundle.k))
