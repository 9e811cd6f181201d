"""How true a forecast is."""

from __future__ import annotations

import numpy as np

from policies.api import BoolArray, FloatArray, IntArray, StepFeedback


class Ageing:
    """A mean that forgets: each value weighs `keep` times as much as the one after it."""

    def __init__(self, keep: float) -> None:
        self._keep, self._sum, self._weight = keep, 0.0, 0.0

    def add(self, value: float) -> None:
        self._sum = self._keep * self._sum + value
        self._weight = self._keep * self._weight + 1.0

    @property
    def mean(self) -> float:
        """0 before the first value."""
        return self._sum / self._weight if self._weight else 0.0


class CalibrationError:
    """Expected calibration error over ageing bins: mean over forecasts of |forecast - frequency| in their bin."""

    def __init__(self, bins: int = 10, keep: float = 0.96, every: int = 4) -> None:
        """Due one step in `every`: it is for an operator's eyes, and a step's time is dear."""
        self._bins, self._keep, self._every, self._calls = bins, keep, every, 0
        self._count, self._forecast, self._hits = np.zeros(bins), np.zeros(bins), np.zeros(bins)

    def due(self) -> bool:
        """Counts a step; whether to `add` what it brought."""
        self._calls += 1
        return (self._calls - 1) % self._every == 0

    def add(self, forecast: FloatArray, hit: BoolArray) -> None:
        """Forecast probabilities and what became of them, both [n]."""
        at = np.minimum((forecast * self._bins).astype(np.int64), self._bins - 1)
        for total, weights in ((self._count, None), (self._forecast, forecast), (self._hits, hit)):
            np.multiply(total, self._keep, out=total)
            np.add(total, np.bincount(at, weights, self._bins), out=total)

    @property
    def value(self) -> float | None:
        """None before the first forecast."""
        total = float(self._count.sum())
        return float(np.abs(self._forecast - self._hits).sum()) / total if total else None


def risk_set(seen: StepFeedback, slots: IntArray) -> tuple[BoolArray, BoolArray]:
    """(tried, accepted) [B, len(slots)]: a slot was tried if it was verified and every earlier one was accepted."""
    return slots < tried_slots(seen)[:, None], slots < seen.accepted[:, None]


def tried_slots(seen: StepFeedback) -> IntArray:
    """[B] slots that were tried: the accepted ones and the one that was not, if it was verified."""
    return np.minimum(seen.accepted + 1, seen.verified)


def reached(lengths: IntArray, k: int) -> IntArray:
    """[k] how many of `lengths` [B] are beyond each slot."""
    ends = np.bincount(lengths, minlength=k + 1)
    return len(lengths) - np.add.accumulate(ends[:k])
