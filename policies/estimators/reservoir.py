"""Times of the shapes seen, and non-negative coefficients that explain them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from policies.api import FloatArray
from policies.estimators.nnls import nnls

Shape = tuple[int, int]

FAINT = 0.01
"""Pull towards 0, of what was seen, where there is no prior: it only keeps the fit from being singular."""


class Reservoir:
    """One cell per shape, holding mean features and time: a rare shape is remembered as well as the usual one.

    Fits relative error, drawn weakly towards prior coefficients whose common scale is taken from the data, so that
    a machine a hundred times faster starts from the right proportions.
    """

    def __init__(
        self,
        prior: FloatArray,
        spread: FloatArray,
        *,
        pull: float = 0.02,
        keep: float = 0.98,
        half_life: int = 4000,
        cells: int = 256,
    ) -> None:
        """`prior` [p] coefficients, `spread` [p] > 0 how far each may lie from it; `pull` in observations."""
        self._prior, self._spread, self._pull = prior / spread, spread, pull
        self._keep, self._half_life = keep, half_life
        self._rows: dict[Shape, int] = {}
        self._x = np.zeros((cells, len(prior)))
        self._y = np.zeros(cells)
        self._n = np.zeros(cells)
        self._seen_at = np.zeros(cells)
        self._time = 0
        self._scaled = self._prior.copy()

    @property
    def coefficients(self) -> FloatArray:
        return self._scaled * self._spread

    def add(self, shape: Shape, x: FloatArray, y: float) -> None:
        """`x` [p] features of a pass of `y` > 0 seconds; one far from its cell's mean counts as half or double that."""
        self._time += 1
        row = self._rows.get(shape)
        if row is None:
            row = self._place(shape)
        n = self._n[row]
        if n >= 3:
            y = min(max(y, 0.5 * self._y[row]), 2.0 * self._y[row])
        rate = max(1.0 / (n + 1.0), 1.0 - self._keep)
        self._x[row] += rate * (x * self._spread - self._x[row])
        self._y[row] += rate * (y - self._y[row])
        self._n[row] = n + 1.0
        self._seen_at[row] = self._time

    def refit(self) -> None:
        used = len(self._rows)
        if not used:
            return
        weight = self._weights()
        x = self._x[:used] / self._y[:used, None]  # relative error: every time is 1
        scale = _weighted_median(x @ self._prior, weight)
        prior = self._prior / scale if scale > 0 else np.zeros_like(self._prior)  # it says nothing of these shapes
        moment = weight @ x
        gram = (x.T * weight) @ x
        most = prior.max()
        pull = self._pull / most**2 if most > 0 else FAINT * max(gram.diagonal().max(), 1e-12)
        gram[np.diag_indices_from(gram)] += pull
        self._scaled = nnls(gram, moment + pull * prior, self._scaled)

    def residuals(self) -> tuple[list[Shape], FloatArray, FloatArray]:
        """Shapes, logs of their times over the fit's, and their weights in observations."""
        at = list(self._rows.values())
        fitted = self._x[at] @ self._scaled
        return list(self._rows), np.log(self._y[at] / np.maximum(fitted, 1e-12)), self._weights()[at]

    def _weights(self) -> FloatArray:
        """[used] observations, those of a shape not seen for long fading."""
        used = len(self._rows)
        age = self._time - self._seen_at[:used]
        return np.asarray(np.minimum(self._n[:used], 20.0) * 0.5 ** (age / self._half_life))

    def _place(self, shape: Shape) -> int:
        """A fresh row; when all are taken, that of the shape not seen for longest."""
        row = len(self._rows)
        if row == len(self._y):
            row = int(self._seen_at.argmin())
            del self._rows[next(s for s, r in self._rows.items() if r == row)]
        self._rows[shape] = row
        self._n[row] = self._y[row] = 0.0
        self._x[row] = 0.0
        return row

    def snapshot(self) -> dict[str, Any]:
        used = len(self._rows)
        return {
            "shapes": [[*shape, row] for shape, row in self._rows.items()],
            "x": self._x[:used].tolist(),
            "y": self._y[:used].tolist(),
            "n": self._n[:used].tolist(),
            "seen_at": self._seen_at[:used].tolist(),
            "time": self._time,
            "scaled": self._scaled.tolist(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._rows = {(a, b): row for a, b, row in state["shapes"]}
        used = len(self._rows)
        self._x[:used], self._y[:used] = np.reshape(state["x"], (used, len(self._prior))), state["y"]
        self._n[:used], self._seen_at[:used] = state["n"], state["seen_at"]
        self._time, self._scaled = int(state["time"]), np.asarray(state["scaled"], np.float64)


def _weighted_median(values: FloatArray, weights: FloatArray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, 0.5 * total[-1])]])
