"""Prefix survivals and the verify lengths they imply.

Survival s_ij = prod over m <= j of P(slot m accepted | earlier ones accepted). It never rises along a request, so the n
largest of a batch are always a set of prefixes: taking slots in falling order is optimal for every n.
"""

from __future__ import annotations

import numpy as np

from policies.api import DraftBundle, FloatArray, IntArray


def prefix_survival(conditional: FloatArray, limit: IntArray) -> FloatArray:
    """[B, K] survivals from conditional probabilities [B, K]; 0 from slot `limit` [B] on."""
    survival = np.multiply.accumulate(conditional, axis=1)
    k = conditional.shape[1]
    if (limit < k).any():
        survival[np.arange(k) >= limit[:, None]] = 0.0
    return survival


def usable_slots(bundle: DraftBundle) -> IntArray:
    """[B] how many of the bundle's slots each request may have verified."""
    limit = np.minimum(bundle.view.k_limit, bundle.k)
    return limit if bundle.plan.k_by_request is None else np.minimum(limit, bundle.plan.k_by_request)


def expected_by_count(gains: FloatArray) -> FloatArray:
    """[N+1] the most that n = 0..N of the gains [B, K] add up to."""
    falling = np.sort(gains, axis=None)[::-1]
    return np.concatenate(([0.0], np.add.accumulate(falling)))


def lengths_of_largest(gains: FloatArray, n: int) -> IntArray:
    """[B] lengths that take the `n` largest gains [B, K]; gains must not rise along a row. Ties go to earlier rows."""
    if n <= 0:
        return np.zeros(len(gains), np.int64)
    if n >= gains.size:
        return np.full(len(gains), gains.shape[1], np.int64)
    least = np.partition(gains, gains.size - n, axis=None)[gains.size - n]
    above, equal = gains > least, gains == least
    spare = n - int(np.count_nonzero(above))
    if spare < np.count_nonzero(equal):
        equal &= np.add.accumulate(equal.ravel()).reshape(equal.shape) <= spare
    return np.asarray((above | equal).sum(1), np.int64)
