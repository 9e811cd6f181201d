"""Non-negative least squares, small and dense."""

from __future__ import annotations

import numpy as np

from policies.api import BoolArray, FloatArray


def nnls(gram: FloatArray, moment: FloatArray, start: FloatArray) -> FloatArray:
    """The x >= 0 [p] that minimises x'Gx / 2 - m'x for a positive definite G [p, p] and m [p].

    `start` [p] >= 0 is where the search begins; the last solution makes it quick.
    Source: Bro and de Jong 1997 (fast NNLS), an active-set method on the normal equations.
    """
    free = start > 0
    x = _feasible(gram, moment, start, free)
    tolerance = 1e-10 * float(np.abs(moment).max())
    for _ in range(3 * len(moment)):
        gradient = np.where(free, -np.inf, moment - gram @ x)
        best = int(gradient.argmax())
        if gradient[best] <= tolerance:
            break
        free[best] = True
        x = _feasible(gram, moment, x, free)
    return x


def _feasible(gram: FloatArray, moment: FloatArray, x: FloatArray, free: BoolArray) -> FloatArray:
    """Solves over the free variables; those that would turn negative are taken out of `free` one by one."""
    while True:
        at = np.flatnonzero(free)
        target = np.zeros_like(x)
        target[at] = np.linalg.solve(gram[np.ix_(at, at)], moment[at])
        bad = at[target[at] < 0]
        if not len(bad):
            return target
        steps = x[bad] / (x[bad] - target[bad])
        first = int(steps.argmin())
        x = np.maximum(x + steps[first] * (target - x), 0.0)
        free[bad[first]] = False
        x[bad[first]] = 0.0
