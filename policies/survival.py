"""Prefix survivals and the verify lengths they imply.

Survival s_ij = prod over m <= j of P(slot m accepted | earlier ones accepted). It never rises along a request, so the n
largest of a batch are always a set of prefixes: taking slots in falling order is optimal for every n.
"""

from __future__ import annotations

import numpy as np

from policies.api import DraftBundle, FloatArray, IntArray


def prefix_survival(conditional: FloatArray, limit: IntArray) -> FloatArray:
    """[B, K] survivals from conditional probabilities [B, K]; 0 from slot `limit` [B] on."""
    return cut_off(np.multiply.accumulate(conditional, axis=1), limit)


def cut_off(survival: FloatArray, limit: IntArray) -> FloatArray:
    """`survival` [B, K] itself, set to 0 from slot `limit` [B] on."""
    k = survival.shape[1]
    if np.minimum.reduce(limit, initial=k) < k:
        survival[np.arange(k) >= limit[:, None]] = 0.0
    return survival


def usable_slots(bundle: DraftBundle) -> IntArray:
    """[B] how many of the bundle's slots each request may have verified."""
    limit = np.minimum(bundle.view.k_limit, bundle.k)
    return limit if bundle.plan.k_by_request is None else np.minimum(limit, bundle.plan.k_by_request)


class Ranking:
    """A batch's gains [B, K], which must not rise along a row, in falling order."""

    __slots__ = ("_falling", "gains")

    def __init__(self, gains: FloatArray) -> None:
        self.gains = gains
        self._falling = np.sort(gains, axis=None)[::-1]

    def totals(self) -> FloatArray:
        """[N+1] the most that n = 0..N gains add up to."""
        totals = np.zeros(self._falling.size + 1)
        np.add.accumulate(self._falling, out=totals[1:])
        return totals

    def order(self) -> IntArray:
        """[N] slots as i * K + j in the order of taking; ties go to earlier rows."""
        return (-self.gains.ravel()).argsort(kind="stable")

    def lengths(self, n: int) -> IntArray:
        """[B] lengths that take the `n` largest gains; ties go to earlier rows."""
        gains, falling = self.gains, self._falling
        if n <= 0:
            return np.zeros(len(gains), np.int64)
        least = falling[min(n, falling.size) - 1]
        taken = gains >= least
        if n < falling.size and falling[n] == least:
            above = gains > least
            equal = taken & ~above
            spare = n - int(np.count_nonzero(above))
            taken = above | (equal & (np.add.accumulate(equal.ravel()).reshape(equal.shape) <= spare))
        return np.asarray(np.add.reduce(taken, axis=1, dtype=np.int64))
