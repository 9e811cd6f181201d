"""Whether a request is served now, waits at the door, or is refused with the time to come back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from policies.fleet.route import Route, RouteSettings, route
from policies.fleet.views import FleetSettings, FleetView, RequestView

FOR_EVER_S = 1e9


class AdmitSettings(FleetSettings):
    """When the fleet is full."""

    min_slack: float = Field(default=0.0, ge=-1, le=1, description="share of each objective that must be left over")
    queue_limit: int = Field(default=256, ge=0, description="most requests held at the door")
    seats_factor: float = Field(default=2.0, gt=0, description="most requests per seat when no objective limits them")
    min_free_kv: float = Field(default=0.02, ge=0, le=1, description="free KV share below which nothing is sent")
    min_retry_s: int = Field(default=1, ge=1)
    max_retry_s: int = Field(default=60, ge=1)
    routing: RouteSettings = RouteSettings()


@dataclass(frozen=True, slots=True)
class Admission:
    """What to do with a request now, and why."""

    action: Literal["serve", "queue", "shed"]
    reason: str  # fits, infeasible, ttft, tpot, kv, seats, no_replica
    route: Route | None = None
    retry_after_s: int = 0  # only when shed


def admit(fleet: FleetView, request: RequestView, queued: int, settings: AdmitSettings) -> Admission:
    """Predict on arrival. `queued` requests that go first are already held at the door.

    An objective that even an idle replica would miss is no reason to refuse: such a request is served best effort. A
    class that sheds waits too where it would still make its TTFT.
    """
    if fleet.replicas == 0:
        return _hold(request, queued, "no_replica", settings.min_retry_s, math.inf, settings)
    chosen = route(fleet, request, settings.routing)
    limit = _limit(fleet, request, chosen, settings)
    if limit in {"fits", "infeasible"}:
        return Admission("serve", limit, chosen)
    first_s = queued * float(fleet.residence_s.mean() / max(fleet.seats.sum(), 1.0))
    wait_s = first_s + _drain_s(fleet, request, chosen)
    return _hold(request, queued, limit, wait_s, float(chosen.prediction.idle_ttft_s[chosen.index]), settings)


def deadline_s(arrived_s: float, request: RequestView) -> tuple[int, float]:
    """Sort key of the door's queue: higher priority first, then the earliest deadline."""
    return (-request.priority, arrived_s + request.ttft_slo_s)


def _limit(fleet: FleetView, request: RequestView, chosen: Route, settings: AdmitSettings) -> str:
    i, p = chosen.index, chosen.prediction
    if fleet.free_kv_fraction[i] < settings.min_free_kv:  # nan compares false: unknown is not a limit
        return "kv"
    if fleet.ahead[i] >= settings.seats_factor * fleet.seats[i]:
        return "seats"
    if fleet.ahead[i] < 1:
        return "fits" if p.slack[i] >= settings.min_slack else "infeasible"  # it does not get better than this
    share = 1 - settings.min_slack
    if p.ttft_s[i] > share * request.ttft_slo_s:
        return "ttft" if p.idle_ttft_s[i] <= share * request.ttft_slo_s else "infeasible"
    if p.tpot_s[i] > share * request.tpot_slo_s:
        return "tpot" if p.idle_tpot_s[i] <= share * request.tpot_slo_s else "infeasible"
    return "fits"


def _hold(
    request: RequestView, queued: int, reason: str, wait_s: float, idle_ttft_s: float, settings: AdmitSettings
) -> Admission:
    in_time = math.isfinite(request.ttft_slo_s) and wait_s + idle_ttft_s <= request.ttft_slo_s
    if queued < settings.queue_limit and (request.overload == "queue" or in_time):
        return Admission("queue", reason)
    retry_s = min(max(math.ceil(wait_s), settings.min_retry_s), settings.max_retry_s)
    return Admission("shed", reason, retry_after_s=retry_s)


def _drain_s(fleet: FleetView, request: RequestView, chosen: Route) -> float:
    """When the chosen replica would fit the request if nothing else arrived.

    A backlog shrinks by a second a second. A batch shrinks by ahead / residence requests a second (Little's law), and
    must lose as many as the step is too long for. Both go on at the same time.
    """
    i, p = chosen.index, chosen.prediction
    late_s = max(0.0, float(p.ttft_s[i]) - request.ttft_slo_s)
    over_s = float(p.tpot_s[i] - request.tpot_slo_s) * float(fleet.tokens_per_step[i])
    too_many = max(0.0, over_s) / max(float(fleet.step_per_request_s[i]), 1e-9)
    too_many = max(too_many, float(fleet.ahead[i] - fleet.seats[i]), 1.0)
    per_leave_s = float(fleet.residence_s[i]) / max(float(fleet.ahead[i]), 1.0)
    wait_s = max(late_s, too_many * per_leave_s)
    return wait_s if math.isfinite(wait_s) else FOR_EVER_S
