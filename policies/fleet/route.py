"""Which replica a request goes to: the one with the most predicted SLO slack for its class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from policies.fleet.predict import Prediction, predict
from policies.fleet.views import FleetSettings, FleetView, FloatArray, RequestView


class RouteSettings(FleetSettings):
    """What counts as equal, and as too old."""

    tie_slack: float = Field(default=0.05, ge=0, le=1, description="slack this close to the best counts as equal")
    prefix_detour: float = Field(default=4.0, ge=0, description="requests more ahead a cached prefix is worth")
    stale_after_s: float = Field(default=2.0, gt=0, description="an older report is trusted only if all are as old")


@dataclass(frozen=True, slots=True)
class Route:
    """The replica chosen, and what was predicted of all."""

    index: int
    prediction: Prediction

    @property
    def slack(self) -> float:
        return float(self.prediction.slack[self.index])


def route(fleet: FleetView, request: RequestView, settings: RouteSettings) -> Route:
    """The most slack; among equals the longest cached prefix, unless it means a crowd, then the fewest requests ahead.

    Raises:
        ValueError: the fleet is empty.
    """
    if fleet.replicas == 0:
        raise ValueError("fleet: no replica to route to; start one or wait for its first report")
    prediction = predict(fleet, request)
    slack = _trusted(prediction.slack, fleet.age_s, settings.stale_after_s)
    tied = slack >= slack.max() - settings.tie_slack
    if request.prefix_tokens is not None:
        tied &= fleet.ahead <= fleet.ahead[tied].min() + settings.prefix_detour
        cached = np.where(tied, request.prefix_tokens, -1)
        tied = cached == cached.max()
    return Route(int(np.argmin(np.where(tied, fleet.ahead, np.inf))), prediction)


def _trusted(slack: FloatArray, age_s: FloatArray, stale_after_s: float) -> FloatArray:
    fresh = age_s <= stale_after_s
    return np.where(fresh, slack, -np.inf) if fresh.any() else slack
