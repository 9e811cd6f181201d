"""A replica's speed from its successive reports, and the fleet's view from the replicas'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from policies.exchange import ReplicaReport
from policies.fleet.ledger import Ledger
from policies.fleet.steptime import StepTrend
from policies.fleet.views import FleetView, FloatArray

KEEP = 0.9  # weight of what was known before, per report
UNKNOWN_TOKENS_PER_S = 1e9  # no prompt was timed yet: it costs nothing


class ReplicaFigures(BaseModel):
    """One replica as fleet decisions need it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replica: str
    age_s: float = Field(description="since its report arrived at the monitor")
    batch: int
    waiting: int
    backlog_tokens: float
    seats: int
    step_s: float = Field(description="predicted at this batch")
    step_per_request_s: float
    tokens_per_step: float
    prefill_tokens_per_s: float
    residence_s: float
    free_kv_fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """What the reports so far have shown. Start with `Track()`."""

    last: ReplicaReport | None = None
    trend: StepTrend = field(default_factory=StepTrend)
    tokens_per_step: float = 1.0
    prefill_tokens: float = 0.0
    prefill_s: float = 0.0

    @property
    def prefill_tokens_per_s(self) -> float:
        return self.prefill_tokens / self.prefill_s if self.prefill_s > 0 else UNKNOWN_TOKENS_PER_S

    def seen(self, report: ReplicaReport) -> Track:
        """With one more report. Counters that went back are a restarted engine's: its first interval says nothing."""
        if self.last is None or report.decode_steps <= self.last.decode_steps:
            return replace(self, last=report)
        steps = report.decode_steps - self.last.decode_steps
        requests = max(report.request_steps - self.last.request_steps, 1)
        gained = 1 + (report.accepted_tokens - self.last.accepted_tokens) / requests
        prompts, took_s = report.prefill_tokens - self.last.prefill_tokens, report.step_s - self.last.step_s
        tokens_per_step = KEEP * self.tokens_per_step + (1 - KEEP) * gained
        return replace(
            _timed(self, requests / steps, steps, took_s, prompts), last=report, tokens_per_step=tokens_per_step
        )


def _timed(track: Track, batch: float, steps: int, took_s: float, prompts: int) -> Track:
    """Steps without prompts give the line over the batch; what the others take beyond it is the prompts'."""
    if prompts == 0 or track.trend.weight == 0:
        return replace(track, trend=track.trend.seen(batch, took_s / steps))
    beyond_s = max(0.0, took_s - steps * track.trend.at(batch))
    return replace(
        track, prefill_tokens=KEEP * track.prefill_tokens + prompts, prefill_s=KEEP * track.prefill_s + beyond_s
    )


def figures(replica: str, track: Track, age_s: float, seats: int, residence_s: float) -> ReplicaFigures:
    """Of a replica that has reported."""
    report = track.last or ReplicaReport(at_s=0.0)
    return ReplicaFigures(
        replica=replica,
        age_s=age_s,
        batch=report.batch,
        waiting=report.waiting or 0,
        backlog_tokens=report.waiting_prefill_tokens or 0,
        seats=seats,
        step_s=track.trend.at(report.batch),
        step_per_request_s=track.trend.per_request_s,
        tokens_per_step=track.tokens_per_step,
        prefill_tokens_per_s=track.prefill_tokens_per_s,
        residence_s=residence_s,
        free_kv_fraction=report.free_kv_fraction,
    )


def fleet_view(replicas: Sequence[ReplicaFigures]) -> FleetView:
    """The replicas as reported."""

    def column(name: str) -> FloatArray:
        return np.array([getattr(f, name) for f in replicas], np.float64)  # None becomes nan

    nothing = np.zeros(len(replicas))
    return FleetView(
        age_s=column("age_s"),
        batch=column("batch"),
        waiting=column("waiting"),
        backlog_tokens=column("backlog_tokens"),
        sent=nothing,
        sent_tokens=nothing,
        seats=column("seats"),
        step_s=column("step_s"),
        step_per_request_s=column("step_per_request_s"),
        tokens_per_step=column("tokens_per_step"),
        prefill_tokens_per_s=column("prefill_tokens_per_s"),
        residence_s=column("residence_s"),
        free_kv_fraction=column("free_kv_fraction"),
    )


def as_of_now(view: FleetView, names: Sequence[str], ledger: Ledger, older_s: FloatArray) -> FleetView:
    """The view with what `ledger` has sent since the reports, which are `older_s` [R] seconds older now."""
    reported = (view.batch + view.waiting).tolist()
    unreported = [ledger.unreported(name, count) for name, count in zip(names, reported, strict=True)]
    sent, tokens = np.array(unreported, np.float64).reshape(-1, 2).T
    return replace(view, age_s=view.age_s + older_s, sent=sent, sent_tokens=tokens)
