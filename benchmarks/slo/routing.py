"""Most slack against power of two choices: four replicas, one of them half as fast, answers of skewed length.

`python -m benchmarks.slo.routing` writes benchmarks/results/slo/routing.json. Paired: the same requests at the same
times. The door holds nobody back here, so that only the choice of replica differs. Virtual time: see virtual.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.slo import virtual
from benchmarks.slo.fleet import Fleet
from benchmarks.slo.load import play, poisson, summary
from benchmarks.slo.result import write

SEATS, DURATION_S, SEEDS = 8, 15.0, range(3)
ENGINE = {"step_ms": 20, "step_token_ms": 1, "draft_ms": 1, "ttft_ms": 5, "acceptance": 0.7, "max_num_seqs": SEATS}
POLICY = {"safe_policy": {"name": "fixed", "params": {"k": 2}}, "k_max": 4}
SLOW = {"step_ms": 60, "step_token_ms": 2}
CLASSES: list[dict[str, Any]] = [
    {"name": "interactive", "ttft_ms": 250, "tpot_ms": 30, "priority": 10},
    {"name": "batch", "ttft_ms": 5000, "tpot_ms": 100},
]
LOADS = {"middle": 14.0, "high": 20.0}
HOLD_NOBODY = {"min_slack": -1, "seats_factor": 1000}


def main() -> None:
    """Both routers over every load and seed."""
    rows = [
        {"load": load, "seed": seed, "router": name, **virtual.run(_run(rps, seed, admission=name == "slack"))}
        for load, rps in LOADS.items()
        for seed in SEEDS
        for name in ("slack", "two_choices")
    ]
    config = {"engine": ENGINE, "slow": SLOW, "classes": CLASSES, "rps": LOADS, "seeds": len(SEEDS)}
    write("routing", {"mean": _mean(rows), "runs": rows}, config)


async def _run(rps: float, seed: int, *, admission: bool) -> dict[str, Any]:
    ingress = {"classes": CLASSES, "default_class": "batch", "admission": admission, "door": HOLD_NOBODY}
    fleet = Fleet(ENGINE | POLICY, ingress, {})
    await fleet.start(4, **SLOW)
    rates = {"interactive": 0.7 * rps, "batch": 0.3 * rps}
    plan = poisson(np.random.default_rng(seed), DURATION_S, rates, (24, 256))
    seen = await play(fleet, plan)
    await fleet.stop()
    return summary(seen, CLASSES)


def _mean(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Over seeds, with the difference's standard error."""
    out: list[dict[str, Any]] = []
    for load in LOADS:
        for of in ("interactive", "batch"):
            found: dict[str, Any] = {"load": load, "class": of}
            for what, read in READ.items():
                slack, two = (
                    np.array([read(r[of]) for r in rows if r["load"] == load and r["router"] == name])
                    for name in ("slack", "two_choices")
                )
                error = float(np.std(slack - two, ddof=1) / np.sqrt(len(slack)))
                found[what] = {
                    "slack": round(float(slack.mean()), 4),
                    "two_choices": round(float(two.mean()), 4),
                    "difference_standard_error": round(error, 4),
                }
            out.append(found)
    return out


READ: dict[str, Any] = {
    "attainment": lambda found: found["attainment_of_all"],
    "ttft_p95_ms": lambda found: found["ttft_ms"]["p95"],
    "ttft_p99_ms": lambda found: found["ttft_ms"]["p99"],
    "tpot_p95_ms": lambda found: found["tpot_ms"]["p95"],
}


if __name__ == "__main__":
    main()
