"""What a smooth curve leaves over: passes of some sizes that take longer, or shorter, than their neighbours."""

from __future__ import annotations

from math import log2

import numpy as np
from numpy.typing import ArrayLike

from policies.api import FloatArray, IntArray

PARTS = 4
"""Cells an octave of pass sizes is cut into: one size each up to 7 tokens, then 8 and 9."""
DOUBT = 0.2
"""Logs of time by which one step may be off the curve and mean nothing: four times a step's usual noise."""
EVEN = 0.03
"""Logs of time that are the curve's own lack of fit, however often they were seen."""


def cell(tokens: int) -> int:
    """Of a pass of so many tokens, 1 or more."""
    return int(PARTS * log2(tokens))


_TOKENS = np.arange(1, 1025)
_CELLS, _FIRST, _COUNT = np.unique(
    np.fromiter(map(cell, _TOKENS.tolist()), np.int64), return_index=True, return_counts=True
)
CENTRES = _TOKENS[_FIRST] + (_COUNT - 1) / 2
"""[cells] mean size of the passes in each cell that a whole number of tokens falls into."""


class Uneven:
    """Kernels have sizes they like: on one CPU a lone request's step takes 87 ms at K = 0, 105 at 1 and 74 at 3.

    On GPUs batches are padded to the next captured graph or tile.
    """

    def __init__(self) -> None:
        self._ratio = np.ones(len(CENTRES))
        self.known = False  # whether any size is off the curve

    def learn(self, cells: IntArray, residual: FloatArray, weight: FloatArray) -> None:
        """Anew from logs of measured / smooth times, each of a cell and a weight in observations (all [n])."""
        at = np.searchsorted(_CELLS, np.minimum(cells, _CELLS[-1]))
        total = np.bincount(at, weight, len(CENTRES))
        off = np.bincount(at, weight * residual, len(CENTRES)) / np.maximum(total, 1e-9)
        ignored = np.maximum(EVEN, DOUBT / np.sqrt(np.maximum(total, 1e-9)))
        beyond = np.where(np.abs(off) > ignored, off - np.sign(off) * ignored, 0.0)
        self.known = bool(beyond.any())
        self._ratio = np.exp(beyond)

    def ratio(self, tokens: ArrayLike) -> FloatArray:
        """Time / smooth time of passes of so many tokens; of an expected number, between its neighbours'."""
        return np.asarray(np.interp(np.asarray(tokens, np.float64), CENTRES, self._ratio))

    def explain(self) -> dict[int, float]:
        """Size -> ratio where it is not 1."""
        off = np.flatnonzero(self._ratio != 1.0)
        return {int(CENTRES[i]): round(float(self._ratio[i]), 3) for i in off}
