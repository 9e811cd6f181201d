"""What the door and the load monitor tell each other, and what /v1/slo shows of both."""

from __future__ import annotations

from pydantic import Field

from deployments.status import Frozen
from policies.exchange import LoadOutlook
from policies.fleet.track import ReplicaFigures


class ClassCount(Frozen):
    """One class at one door. Counts are since the door's start."""

    ttft_ms: float | None
    tpot_ms: float | None
    arrived: int = 0
    prompt_tokens: float = Field(default=0.0, description="estimated, summed over the arrivals")
    admitted: int = 0
    shed: int = 0
    finished: int = 0
    attained: int = Field(default=0, description="finished with TTFT and mean TPOT within their objectives")
    waiting: int = Field(default=0, description="held at the door now")
    running: int = Field(default=0, description="at replicas now")


class DoorReport(Frozen):
    """An ingress in its own words."""

    door: str
    classes: dict[str, ClassCount]


class DoorAnswer(Frozen):
    """What the monitor answers it with."""

    replicas: tuple[ReplicaFigures, ...]


class ClassStatus(Frozen):
    """One class over all doors."""

    ttft_ms: float | None
    tpot_ms: float | None
    attainment: float | None = Field(description="share of the requests finished lately that attained; null: none did")
    arrived: int
    admitted: int
    shed: int
    finished: int
    attained: int
    waiting: int
    running: int


class SloStatus(Frozen):
    """The answer of /v1/slo."""

    at_s: float
    admission: bool = Field(default=True, description="false: switched off in the config")
    classes: dict[str, ClassStatus]
    arrival_rps: float = Field(description="requests arriving at the doors, refused ones included, forecast")
    replicas: tuple[ReplicaFigures, ...] = Field(description="as admission and routing see them")
    desired_replicas: int
    scale_reason: str
    outlook: LoadOutlook = Field(description="of the whole fleet")
