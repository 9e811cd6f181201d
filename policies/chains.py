"""What drafts have looked like lately, and what verifying them would have brought."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from policies.api import Feature, FloatArray

THRESHOLDS = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 2.0])
"""Least survivals worth verifying that are tried; the last one verifies nothing."""
QUANTILES = 8
NUDGE = 0.1
"""More verified tokens per request, to see what one more costs."""


@dataclass(frozen=True, slots=True)
class Yields:
    """Means per request over remembered chains, by threshold [G] and length k [K+1]."""

    verified: FloatArray  # [2, G, K+1] slots that reach the threshold; the same plus NUDGE
    gained: FloatArray  # [G, K+1] tokens they are expected to add
    confidence: FloatArray  # [K, QUANTILES] spread of a slot's conditional acceptance

    @classmethod
    def of(cls, conditional: FloatArray) -> Yields:
        """From conditional acceptance [M, K] of M chains."""
        survival = np.multiply.accumulate(conditional, axis=1)
        kept = survival >= THRESHOLDS[:, None, None]
        edges = (np.arange(QUANTILES) + 0.5) * (len(conditional) / QUANTILES)
        spread = np.sort(conditional, axis=0)[edges.astype(np.int64)].T
        verified = _by_length(kept.astype(np.float64))
        return cls(np.stack([verified, verified + NUDGE]), _by_length(kept * survival), np.ascontiguousarray(spread))


def _by_length(values: FloatArray) -> FloatArray:
    total = np.zeros((values.shape[0], values.shape[2] + 1))
    np.add.accumulate(np.add.reduce(values, axis=1), axis=1, out=total[:, 1:])
    return np.asarray(total / values.shape[1])


class ChainMemory:
    """The last `size` drafted chains' top-1 probabilities, by slot; slots not drafted keep an older chain's.

    The spread matters as much as the mean: pruning keeps the sure half of a batch, whatever the average says.
    """

    def __init__(self, k_max: int, size: int = 64, mean_logit: float = 1.0, spread: float = 1.0) -> None:
        """Starts with logistic quantiles around `mean_logit`, in a different order at each slot."""
        quantiles = (np.arange(size) + 0.5) / size
        order = (np.arange(size)[:, None] * (2 * np.arange(k_max) + 1)) % size
        logits = mean_logit + spread * np.log(quantiles / (1 - quantiles))
        self._top1 = 1.0 / (1.0 + np.exp(-logits[order]))
        self._next = 0
        self._since = 0

    def add(self, top1: FloatArray) -> None:
        """Chains [B, k]; of more than fit, an even sample."""
        size, k = len(self._top1), top1.shape[1]
        rows = top1[:: -(-len(top1) // size)]
        at = (self._next + np.arange(len(rows))) % size
        self._top1[at, :k] = rows
        self._next = int(self._next + len(rows)) % size
        self._since += 1

    def stale(self, steps: int) -> bool:
        """Whether chains of `steps` steps came in since `yields`."""
        return self._since >= steps

    def yields(self, confident: Callable[[Mapping[Feature, FloatArray]], FloatArray]) -> Yields:
        self._since = 0
        return Yields.of(confident({"top1": self._top1}))

    def snapshot(self) -> dict[str, Any]:
        return {"top1": self._top1.tolist(), "next": self._next, "since": self._since}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._top1 = np.asarray(state["top1"], np.float64)
        self._next, self._since = int(state["next"]), int(state["since"])
