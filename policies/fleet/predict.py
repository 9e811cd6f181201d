"""What TTFT and TPOT a new request would get on each replica."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from policies.fleet.views import FleetView, FloatArray, RequestView


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the request would get, by replica."""

    ttft_s: FloatArray  # [R]
    tpot_s: FloatArray  # [R]
    idle_ttft_s: FloatArray  # [R] both for a request alone there: no admission rule can do better
    idle_tpot_s: FloatArray
    slack: FloatArray  # [R] share of the tighter objective left over; 1: no objective; below 0: missed


def predict(fleet: FleetView, request: RequestView) -> Prediction:
    """Backlog over prefill speed, plus seats that must empty first; then a step of the batch it would join."""
    joined = fleet.ahead + 1
    step_s = fleet.step_s + fleet.step_per_request_s * (joined - fleet.batch)
    idle_s = np.maximum(fleet.step_s - fleet.step_per_request_s * (fleet.batch - 1), 0)
    prompt = request.prompt_tokens if request.prefix_tokens is None else request.prompt_tokens - request.prefix_tokens
    alone_s = prompt / fleet.prefill_tokens_per_s
    prefill_s = alone_s + (fleet.backlog_tokens + fleet.sent_tokens) / fleet.prefill_tokens_per_s
    seat_s = np.maximum(joined - fleet.seats, 0) * fleet.residence_s / np.maximum(fleet.seats, 1)
    ttft_s, tpot_s = prefill_s + seat_s + step_s, step_s / fleet.tokens_per_step
    slack = np.minimum(_left(ttft_s, request.ttft_slo_s), _left(tpot_s, request.tpot_slo_s))
    return Prediction(ttft_s, tpot_s, alone_s + idle_s, idle_s / fleet.tokens_per_step, slack)


def _left(predicted_s: FloatArray, slo_s: float) -> FloatArray:
    return 1 - predicted_s / slo_s  # an infinite objective leaves all of it
