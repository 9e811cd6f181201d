"""How many replicas the forecast needs: up before attainment falls, down one at a time after a quiet spell."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import Field

from policies.fleet.views import FleetSettings


class ScaleSettings(FleetSettings):
    """Bounds, the load to aim at, and patience."""

    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int = Field(default=1, ge=1)
    target_load: float = Field(default=0.75, gt=0, le=1, description="expected batch over the batch that meets the SLO")
    down_load: float = Field(default=0.5, gt=0, le=1, description="load one replica fewer may have at most")
    target_attainment: float = Field(default=0.95, gt=0, le=1)
    down_after_s: float = Field(default=60.0, ge=0, description="quiet this long before each step down")


@dataclass(frozen=True, slots=True)
class ScaleView:
    """The fleet as the monitor sees it."""

    at_s: float
    replicas: int  # running or starting
    expected_batch: float  # p90 over the fleet once a started replica would be ready, waiting requests included
    present: float  # requests running and waiting now, at the door too
    batch_limit: float  # largest batch at which one replica meets the tightest TPOT objective
    attainment: float | None  # of the worst class in the last window; None: nothing finished
    waiting: float = 0.0  # of `present`, those that nobody serves yet


@dataclass(frozen=True, slots=True)
class Scale:
    """Pass it back in with the next view: it remembers since when fewer replicas would do."""

    desired: int
    reason: str
    quiet_since_s: float | None = None


def scale(view: ScaleView, last: Scale | None, settings: ScaleSettings) -> Scale:
    """Replicas wanted now."""
    bounded = _clip(view.replicas, settings)
    need = _clip(_needed(view, view.expected_batch, settings.target_load), settings)
    if need > bounded:
        return Scale(need, "load")
    if view.attainment is not None and view.attainment < settings.target_attainment and _crowded(view, settings):
        return Scale(_clip(bounded + 1, settings), "attainment")
    if bounded <= settings.min_replicas or _loaded(view, settings):
        return Scale(bounded, "steady")
    since_s = view.at_s if last is None or last.quiet_since_s is None else last.quiet_since_s
    if view.at_s - since_s < settings.down_after_s:
        return Scale(bounded, "quiet", since_s)
    return Scale(_clip(bounded - 1, settings), "idle", view.at_s)


def _needed(view: ScaleView, batch: float, load: float) -> int:
    return math.ceil(batch / (load * max(view.batch_limit, 1.0)))


def _loaded(view: ScaleView, settings: ScaleSettings) -> bool:
    """One fewer would not do.

    A forecast alone takes no replica away from requests that are here: clients who wait for their answers before they
    ask again look to it like arrivals that dry up.
    """
    return _needed(view, max(view.expected_batch, view.present), settings.down_load) >= view.replicas


def _crowded(view: ScaleView, settings: ScaleSettings) -> bool:
    """A miss may be cured by more: not where few are here and none waits, and it is remembered from before."""
    seats = view.replicas * max(view.batch_limit, 1.0)
    many = max(view.expected_batch, view.present) >= settings.down_load * seats
    return _loaded(view, settings) and (many or view.waiting > 0)


def _clip(replicas: int, settings: ScaleSettings) -> int:
    return min(max(replicas, settings.min_replicas), settings.max_replicas)
