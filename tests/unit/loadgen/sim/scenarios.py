"""Small scenarios for tests."""

from typing import Any

from loadgen.sim.scenario import Scenario


def scenario(**changes: Any) -> Scenario:
    """A few seconds of one small replica; `changes` replace top-level fields."""
    base: dict[str, Any] = {
        "name": "small",
        "seed": 1,
        "duration_s": 4.0,
        "arrivals": {"kind": "poisson", "rps": 8},
        "prompt": {"mean_tokens": 60, "max_tokens": 200},
        "output": {"mean_tokens": 24, "max_tokens": 80},
        "classes": [
            {"name": "fast", "ttft_ms": 400, "tpot_ms": 12},
            {"name": "slow", "ttft_ms": 4000, "tpot_ms": 60, "overload": "queue"},
        ],
        "domains": [{"name": "easy", "acceptance": 0.85}, {"name": "hard", "acceptance": 0.4}],
        "cost": "h100_8b_1b",
        "engine": {"k_max": 5, "seats": 8, "token_budget": 96, "kv_tokens": 1600},
    }
    return Scenario.model_validate(base | changes)


def policy(name: str, **params: Any) -> dict[str, Any]:
    return {"name": name, "params": params}
