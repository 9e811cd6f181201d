"""Small scenarios and outcomes for tests."""

from typing import Any

from loadgen.outcome import Outcome
from loadgen.scenario import Scenario

LENIENT = {"send_lag_p99_ms": 2000, "rate_error": 2}
"""A self-check that a busy machine passes."""


def scenario(**changes: Any) -> Scenario:
    base: dict[str, Any] = {
        "name": "small",
        "duration_s": 1.0,
        "arrivals": {"kind": "constant", "rps": 20},
        "output": {"mean_tokens": 5, "cv": 0},
        "classes": [{"name": "fast", "ttft_ms": 200, "tpot_ms": 20}, {"name": "slow"}],
    }
    return Scenario.model_validate(base | changes)


def outcome(i: int, at_s: float = 0.0, ttft_s: float = 0.1, tpot_s: float = 0.01, **changes: Any) -> Outcome:
    """Five tokens."""
    chunks = tuple(at_s + ttft_s + n * tpot_s for n in range(5))
    base: dict[str, Any] = {
        "id": i,
        "slo_class": "fast",
        "at_s": at_s,
        "sent_s": at_s,
        "chunks_s": chunks,
        "end_s": chunks[-1],
        "prompt_tokens": 3,
        "output_tokens": 5,
        "status": 200,
    }
    return Outcome(**(base | changes))
