"""What drafts have looked like lately, and what verifying them would have brought."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from policies.api import Feature, FloatArray, IntArray

THRESHOLDS = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 2.0])
"""Least survivals worth verifying that are tried; the last one verifies nothing."""
QUANTILES = 8
STEPS = 32
WORTHS = np.append(np.linspace(0.0, 1.0, STEPS + 1), 1e6)
"""Worths of a drafted prefix (survival x weight) at which the next slot's promise is worked out."""


@dataclass(frozen=True, slots=True)
class Yields:
    """Means per request over remembered chains, by threshold [G] and length k [K+1]."""

    verified: FloatArray  # [G, K+1] slots that reach the threshold
    gained: FloatArray  # [G, K+1] tokens they are expected to add
    confidence: FloatArray  # [K, QUANTILES] spread of a slot's conditional acceptance

    def promise(self, least: float) -> FloatArray:
        """[K, len(WORTHS)] what slot j is expected to bring beyond `least`, by the worth of the prefix before it."""
        surplus = WORTHS[:, None] * self.confidence[:, None, :] - least
        return np.asarray(np.add.reduce(np.maximum(surplus, 0.0), axis=2) / self.confidence.shape[1])

    @classmethod
    def of(cls, conditional: FloatArray) -> Yields:
        """From conditional acceptance [M, K] of M chains."""
        survival = np.multiply.accumulate(conditional, axis=1)
        bins, k = len(THRESHOLDS) + 1, conditional.shape[1]
        # bin b of slot j: survivals that reach the first b thresholds
        at = (np.searchsorted(THRESHOLDS, survival, side="right") + bins * np.arange(k)).ravel()
        verified = _by_length(np.bincount(at, minlength=bins * k), len(conditional), k)
        gained = _by_length(np.bincount(at, survival.ravel(), bins * k), len(conditional), k)
        edges = (np.arange(QUANTILES) + 0.5) * (len(conditional) / QUANTILES)
        spread = np.sort(conditional, axis=0)[edges.astype(np.int64)].T
        return cls(verified, gained, spread)


def _by_length(bins: FloatArray | IntArray, chains: int, k: int) -> FloatArray:
    """[G, K+1] means over chains from sums by slot and bin: over bins that reach a threshold and slots up to k."""
    reach = np.add.accumulate(bins.reshape(k, len(THRESHOLDS) + 1)[:, :0:-1], axis=1)[:, ::-1]
    total = np.zeros((len(THRESHOLDS), k + 1))
    np.add.accumulate(reach.T, axis=1, out=total[:, 1:])
    return np.asarray(total / chains)


def surely_worth(promise: FloatArray, mean: float, price: float) -> bool:
    """Whether prefixes of worth `mean` promise `price` each: a promise is convex, so unequal ones promise more."""
    if mean >= 1.0:
        return bool(promise[STEPS] > price)
    at, rest = divmod(mean * STEPS, 1.0)
    low, high = promise[int(at) : int(at) + 2].tolist()
    return bool(low + rest * (high - low) > price * (1.0 + 1e-9))


class ChainMemory:
    """The last `size` drafted chains' top-1 probabilities, by slot; slots not drafted keep an older chain's.

    The spread matters as much as the mean: pruning keeps the sure half of a batch, whatever the average says. Many,
    because requests differ more than steps do: judged by one request's last steps, a hard one would end drafting, and
    nothing would be learned of the next.

    What is not looked at grows old as well: `forget` puts what is usual, a chain of each of many steps, in place of the
    oldest. A burst begins with first tokens, which are hard to guess; without drafts nobody would see them end.
    """

    START = 128
    """Chains it starts with, and that it takes for usual; they are the first to go."""

    def __init__(self, k_max: int, size: int = 512, mean_logit: float = 1.0, spread: float = 1.0) -> None:
        """Starts with logistic quantiles around `mean_logit`, in a different order at each slot."""
        self._used = min(self.START, size)
        quantiles = (np.arange(self._used) + 0.5) / self._used
        order = (np.arange(self._used)[:, None] * (2 * np.arange(k_max) + 1)) % self._used
        logits = mean_logit + spread * np.log(quantiles / (1 - quantiles))
        self._top1 = np.zeros((size, k_max))
        self._top1[: self._used] = 1.0 / (1.0 + np.exp(-logits[order]))
        self._next = 0
        self._since = 0
        self._usual, self._turn = self._top1[: self._used].copy(), 0

    def add(self, top1: FloatArray, *, lone: bool = False) -> None:
        """Chains [B, k]; of more than fit, an even sample. `lone`: the only ones for many steps."""
        self._put(top1)
        self._learn_usual(top1, lone=lone)
        self._since += 1

    def forget(self, chains: int) -> None:
        """So many grew old unseen."""
        at = (self._next + np.arange(min(chains, len(self._top1)))) % len(self._usual)
        self._put(self._usual[at])

    def _learn_usual(self, top1: FloatArray, *, lone: bool) -> None:
        """All chains while those of the start are not gone, or where there are few; else one of each step."""
        size, k = self._usual.shape[0], top1.shape[1]
        rows = top1[:size] if lone or self._turn < size else top1[[self._turn % len(top1)]]
        at = (self._turn + np.arange(len(rows))) % size
        self._usual[at, :k] = rows
        self._turn += len(rows)

    def _put(self, top1: FloatArray) -> None:
        size, k = len(self._top1), top1.shape[1]
        rows = top1[:: -(-len(top1) // size)]
        end = self._next + len(rows)
        self._grow(min(end, size))
        split = len(rows) - max(end - size, 0)  # what does not fit goes to the start
        self._top1[self._next : end, :k] = rows[:split]
        self._top1[: len(rows) - split, :k] = rows[split:]
        self._next = end % size

    def _grow(self, used: int) -> None:
        """Further chains begin as copies of those there are: what of them is not drafted stays an older chain's."""
        if used > self._used:
            shape = (used - self._used, self._top1.shape[1])
            self._top1[self._used : used] = np.resize(self._top1[: self._used], shape)
            self._used = used

    def stale(self, steps: int) -> bool:
        """Whether chains of `steps` steps came in since it last said so."""
        if self._since < steps:
            return False
        self._since = 0
        return True

    def yields(self, confident: Callable[[Mapping[Feature, FloatArray]], FloatArray]) -> Yields:
        return Yields.of(confident({"top1": self._top1[: self._used]}))

    def snapshot(self) -> dict[str, Any]:
        places = {"next": self._next, "since": self._since, "turn": self._turn}
        return {"top1": self._top1[: self._used].tolist(), "usual": self._usual.tolist(), **places}

    def restore(self, state: Mapping[str, Any]) -> None:
        kept = np.asarray(state["top1"], np.float64)
        self._used = len(kept)
        self._top1[: self._used] = kept
        self._usual = np.asarray(state["usual"], np.float64)
        self._next, self._since, self._turn = (int(state[name]) for name in ("next", "since", "turn"))
