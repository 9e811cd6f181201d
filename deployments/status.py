"""What a replica says of itself, four times a second, and what the monitor makes of it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from deployments.problems import Problem
from policies.exchange import LoadOutlook, ReplicaReport
from policies.registry import PolicySpec


class Frozen(BaseModel):
    """Base of what travels between the deployments."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rejection(Frozen):
    """A config that was refused; the one before it still serves."""

    at_s: float = Field(description="wall clock, seconds")
    problems: tuple[Problem, ...]


class ReplicaStatus(Frozen):
    """A replica in its own words."""

    replica: str
    pid: int
    started_at_s: float
    policy: PolicySpec = Field(description="what the engine runs")
    policy_at_s: float = Field(default=0.0, description="wall clock at which the engine took it, seconds")
    reloads_applied: int = 0
    reloads_rejected: int = 0
    last_rejection: Rejection | None = None
    received: int = Field(default=0, description="requests since start")
    residence_s: float = Field(default=0.0, description="running mean of a request's stay here")
    seats: int = Field(default=1, description="requests the engine runs at once")
    desired_replicas: int | None = Field(default=None, description="what the load monitor last wanted; null: unheard")
    report: ReplicaReport


class SeenReplica(Frozen):
    """A status with how long ago it came, seconds. Stale: not counted as capacity."""

    status: ReplicaStatus
    age_s: float
    stale: bool


class PolicyStatus(Frozen):
    """The policy side of a replica, as /v1/policy shows it."""

    replica: str
    policy: PolicySpec
    policy_at_s: float
    state: dict[str, Any] = Field(description="what the engine's policy says of itself: learned state, faults, models")
    reloads_applied: int
    reloads_rejected: int
    last_rejection: Rejection | None
    age_s: float
    stale: bool = Field(description="silent for too long: what is shown may not be so any more")

    @classmethod
    def of(cls, seen: SeenReplica) -> PolicyStatus:
        """The part of a replica's status that is about its policy."""
        status = seen.status
        return cls(
            replica=status.replica,
            policy=status.policy,
            policy_at_s=status.policy_at_s,
            state=status.report.policy_state,
            reloads_applied=status.reloads_applied,
            reloads_rejected=status.reloads_rejected,
            last_rejection=status.last_rejection,
            age_s=seen.age_s,
            stale=seen.stale,
        )


class PolicyList(Frozen):
    """The answer of /v1/policy."""

    replicas: tuple[PolicyStatus, ...]


class Exchanged(Frozen):
    """What the monitor answers a report with."""

    outlook: LoadOutlook
    scrape: bool = Field(description="somebody waits for this replica's metrics")
    desired_replicas: int = Field(default=1, description="for Serve's autoscaler, which asks replicas")


class FleetStatus(Frozen):
    """The load monitor's view."""

    at_s: float
    replicas: tuple[SeenReplica, ...]
    outlook: LoadOutlook
    last_rejection: Rejection | None = Field(default=None, description="of the monitor's own config")
    ingress_rejection: Rejection | None = Field(default=None, description="of the ingress's own config")
