"""Arrival times: renewal gaps through a time change. Recorded ones: `loadgen/traces.py`."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from loadgen.sim.rng import FloatArray
from loadgen.sim.settings import Settings
from loadgen.traces import Replay

GRID, MOST = 4096, 10_000_000
NIGHT = (0.0, 0.0, 0.0, 0.0, 0.05, 0.1)
HOURLY = (*NIGHT, 0.25, 0.5, 0.8, 1, 1, 0.9, 0.7, 0.8, 0.95, 0.9, 0.7, 0.6, 0.7, 0.8, 0.6, 0.35, 0.2, 0.1)


class _Renewal(Settings):
    rps: float = Field(gt=0, description="requests per second (before any change)")
    cv: float = Field(default=1.0, ge=0, description="coefficient of variation of the gaps; 1: Poisson, 0: regular")

    def rate(self, t: FloatArray) -> FloatArray:
        """Requests per second at times `t`."""
        return np.full_like(t, self.rps)


class Poisson(_Renewal):
    """Memoryless gaps."""

    kind: Literal["poisson"] = "poisson"


class Gamma(_Renewal):
    """Burstier gaps than Poisson at the same mean rate."""

    kind: Literal["gamma"] = "gamma"
    cv: float = Field(default=2.0, gt=0)


class Constant(_Renewal):
    """The same gap every time."""

    kind: Literal["constant"] = "constant"
    cv: float = Field(default=0.0, ge=0)


class Ramp(_Renewal):
    """A rate that grows or falls evenly from one value to another, and stays there."""

    kind: Literal["ramp"] = "ramp"
    to_rps: float = Field(gt=0)
    over_s: float = Field(gt=0)

    def rate(self, t: FloatArray) -> FloatArray:
        return np.asarray(np.interp(t, (0, self.over_s), (self.rps, self.to_rps)))


class Step(_Renewal):
    """One rate, then another."""

    kind: Literal["step"] = "step"
    to_rps: float = Field(gt=0)
    at_s: float = Field(ge=0)

    def rate(self, t: FloatArray) -> FloatArray:
        return np.where(t < self.at_s, self.rps, self.to_rps)


class Spike(_Renewal):
    """A base rate with spikes at regular distances."""

    kind: Literal["spike"] = "spike"
    peak_rps: float = Field(gt=0)
    every_s: float = Field(gt=0, description="a spike begins this often, the first half way into a period")
    for_s: float = Field(gt=0)

    def rate(self, t: FloatArray) -> FloatArray:
        inside = (t + self.every_s / 2) % self.every_s < self.for_s
        return np.where(inside, self.peak_rps, self.rps)


class Day(_Renewal):
    """A day squeezed into `period_s`: a night of `rps`, two peaks of `peak_rps`, hour by hour."""

    kind: Literal["day"] = "day"
    peak_rps: float = Field(gt=0)
    period_s: float = Field(gt=0)
    hourly: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        default=HOURLY,
        min_length=2,
        description="position between rps (0) and peak_rps (1)",
    )

    def rate(self, t: FloatArray) -> FloatArray:
        hours = np.append(self.hourly, self.hourly[0])
        at = np.linspace(0, self.period_s, len(hours))
        return np.asarray(self.rps + (self.peak_rps - self.rps) * np.interp(t % self.period_s, at, hours))


Drawn = Constant | Poisson | Gamma | Ramp | Step | Spike | Day
Arrivals = Annotated[Drawn | Replay, Field(discriminator="kind")]


def times(arrivals: Drawn, until_s: float, rng: np.random.Generator) -> FloatArray:
    """[n] sorted arrival times below `until_s`: unit-rate gaps mapped through the inverse of the expected count.

    Raises:
        ValueError: more than MOST are expected.
    """
    grid = np.linspace(0, until_s, GRID)
    rate = arrivals.rate((grid[1:] + grid[:-1]) / 2)
    expected = np.concatenate(([0.0], np.cumsum(rate * np.diff(grid))))
    if expected[-1] > MOST:
        raise ValueError(f"arrivals: {expected[-1]:.3g} requests in {until_s:g} s; at most {MOST:,} can be planned")
    count = int(expected[-1] + 10 * (1 + arrivals.cv) * np.sqrt(expected[-1] + 1)) + 16
    cv2 = arrivals.cv**2
    counted = np.cumsum(rng.gamma(1 / cv2, cv2, count) if cv2 else np.ones(count))
    return np.asarray(np.interp(counted[counted < expected[-1]], expected, grid))
