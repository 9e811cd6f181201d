"""What a replica's engine and the load monitor tell each other, four times a second."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class LoadOutlook(BaseModel):
    """What no replica can know by itself: the fleet's arrivals and the batch this replica is about to see."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_s: float = Field(description="monitor's wall clock when made, seconds")
    age_s: float = Field(default=0.0, ge=0, description="age on arrival plus time since; set by the receiver")
    horizon_s: float = Field(default=1.0, gt=0)
    arrival_rps: float = Field(default=0.0, ge=0)
    expected_batch_p50: float = Field(default=0.0, ge=0)
    expected_batch_p90: float = Field(default=0.0, ge=0)
    expected_prefill_tokens: float = Field(default=0.0, ge=0, description="prompt tokens arriving within the horizon")
    waiting: int = Field(default=0, ge=0, description="requests queued before this replica")
    attainment: dict[str, float] = Field(default_factory=dict, description="SLO class -> share attained, 0..1")


class WhatIf(BaseModel):
    """What the estimators expect of every uniform K = 0, 1, ... at one load."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int
    step_s: tuple[float, ...] = Field(description="step time, by K")
    tokens: tuple[float, ...] = Field(description="tokens a request gains in a step, by K")


class TracedRequest(BaseModel):
    """A finished request whose client asked for a trace: the engine's part of it. Times are the wall clock, seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str
    traceparent: str = Field(description="W3C trace context of the span this belongs under")
    policy: str
    scheduled_at_s: float = Field(description="first prompt token scheduled")
    first_token_at_s: float
    finished_at_s: float
    context_tokens: int = 0
    output_tokens: int = 0
    drafted_tokens: int = 0
    verified_tokens: int = 0
    accepted_tokens: int = 0
    early_stops: int = 0
    catch_up_tokens: int = 0
    k_steps: dict[int, int] = Field(default_factory=dict, description="steps by K of this request")
    reasons: dict[str, int] = Field(default_factory=dict, description="decisions by reason")
    changes: tuple[tuple[float, int, str], ...] = Field(default=(), description="when, to which K, and why; bounded")


class ReplicaReport(BaseModel):
    """An engine's counters since start (monotone) and gauges as of its last step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_s: float
    steps: int = 0
    decode_steps: int = Field(default=0, description="steps whose period is in step_s")
    request_steps: int = Field(default=0, description="decode requests summed over those steps")
    prefill_tokens: int = Field(default=0, description="prompt tokens computed in those steps")
    prompt_chunks: int = Field(default=0, description="parts of a prompt computed that were not its last")
    prefix_hit_tokens: int = Field(default=0, description="prompt tokens found in the prefix cache")
    preemptions: int = Field(default=0, description="requests set back to the queue for want of KV blocks")
    batch: int = 0
    waiting: int | None = None
    waiting_prefill_tokens: int | None = None
    free_kv_fraction: float | None = None
    context_tokens: int = 0
    k_last: int = 0
    switches: int = Field(default=0, description="steps whose K was not that of the step before")
    emitted_tokens: int = 0
    drafted_tokens: int = 0
    verified_tokens: int = 0
    accepted_tokens: int = 0
    early_stops: int = 0
    catch_ups: int = 0
    catch_up_tokens: int = 0
    k_steps: dict[int, int] = Field(default_factory=dict, description="steps by drafted K")
    reasons: dict[str, int] = Field(default_factory=dict, description="decisions by reason")
    fallbacks: dict[str, int] = Field(default_factory=dict, description="guard and engine fallbacks by kind")
    accepted_at: list[int] = Field(default_factory=list, description="accepted by draft position")
    reached_at: list[int] = Field(default_factory=list, description="verified and reached by draft position")
    decide_s: float = Field(default=0.0, description="seconds spent in policy hooks, summed")
    draft_s: float = 0.0
    verify_s: float = 0.0
    step_s: float = Field(default=0.0, description="sum of step wall periods")
    step_s_recent: float = Field(default=0.0, description="running mean of the step period")
    predicted_over_measured: float | None = None
    policy: str = ""
    policy_state: dict[str, Any] = Field(default_factory=dict)
    last_rejection: str | None = None
    what_if: WhatIf | None = None
    traced: tuple[TracedRequest, ...] = Field(default=(), description="finished since the last report")
