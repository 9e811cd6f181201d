"""The near future of arrivals and of each replica's batch: what the fast clock cannot see."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import Field

from policies.exchange import LoadOutlook
from policies.fleet.views import FleetSettings

P90 = 1.2816  # standard normal quantile
UNBOUNDED = 1 << 30  # seats of a fleet that may grow


class OutlookSettings(FleetSettings):
    """How far to look and how fast to forget."""

    horizon_s: float = Field(default=1.0, gt=0, le=60)
    level_s: float = Field(default=2.0, gt=0, description="memory of the arrival rate")
    slope_s: float = Field(default=4.0, gt=0, description="memory of its growth")
    surprise: float = Field(default=4.0, gt=0, description="deviations after which the old level is dropped")


def ahead(settings: OutlookSettings, start_s: float) -> OutlookSettings:
    """As far as a replica takes to start, with as long a memory: seconds say nothing of the minute after next."""
    memory = {"level_s": max(settings.level_s, start_s / 3), "slope_s": max(settings.slope_s, start_s)}
    return settings.model_copy(update={"horizon_s": start_s, **memory})


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Holt's level and slope of the fleet's arrival rate. Start with `Arrivals(at_s=now)`."""

    at_s: float
    level_rps: float = 0.0
    slope_rps2: float = 0.0
    samples: int = 0  # since the level was last dropped: the first ones are averaged

    def forecast_rps(self, horizon_s: float) -> float:
        """Mean rate over the horizon."""
        return max(0.0, self.level_rps + self.slope_rps2 * horizon_s / 2)


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """One replica, and what is on its way to it."""

    batch: int
    waiting: int  # in its engine and sent to it since its report
    share: float  # of the fleet's arrivals it will get
    residence_s: float  # mean stay of a request
    seats: int


def observed(state: Arrivals, arrivals: int, at_s: float, settings: OutlookSettings) -> Arrivals:
    """Count of the interval since `state.at_s` taken in. A count far outside Poisson noise moves the level at once."""
    dt = at_s - state.at_s
    if dt <= 0:
        return state
    expected = max(0.0, state.level_rps + state.slope_rps2 * dt) * dt
    if abs(arrivals - expected) > settings.surprise * math.sqrt(max(expected, 1.0)):
        return Arrivals(at_s, arrivals / dt, 0.0, 1)
    error = arrivals / dt - expected / dt
    gain = 1 - math.exp(-dt / settings.level_s)
    slope_gain = gain * (1 - math.exp(-dt / settings.slope_s))
    level = expected / dt + max(gain, 1 / (state.samples + 1)) * error
    return Arrivals(at_s, max(0.0, level), state.slope_rps2 + slope_gain * error / dt, state.samples + 1)


def outlook(
    arrivals: Arrivals,
    load: ReplicaLoad,
    prompt_tokens: float,
    attainment: dict[str, float],
    settings: OutlookSettings,
) -> LoadOutlook:
    """What one replica is about to see.

    Requests present leave at rate 1 / residence; those queued join; new ones arrive at the forecast rate: an
    infinite-server queue over the horizon, whose variance gives the p90. While nothing has finished yet nobody is taken
    to leave.
    """
    h = settings.horizon_s
    rate = arrivals.forecast_rps(h) * load.share
    stay = math.exp(-h / load.residence_s) if load.residence_s > 0 else 1.0
    present, joined = load.batch + load.waiting, rate * (load.residence_s * (1 - stay) if stay < 1 else h)
    p50 = present * stay + joined
    spread = math.sqrt(present * stay * (1 - stay) + joined)
    return LoadOutlook(
        at_s=arrivals.at_s,
        horizon_s=h,
        arrival_rps=rate,
        expected_batch_p50=min(p50, load.seats),
        expected_batch_p90=min(p50 + P90 * spread, load.seats),
        expected_prefill_tokens=rate * h * prompt_tokens,
        waiting=load.waiting,
        attainment=attainment,
    )


def batch_ahead(trend: Arrivals, load: ReplicaLoad, settings: OutlookSettings, start_s: float) -> float:
    """P90 of the fleet's batch once a replica that starts now would be ready. `trend`: observed under `ahead`."""
    return outlook(trend, load, 0.0, {}, ahead(settings, start_s)).expected_batch_p90
