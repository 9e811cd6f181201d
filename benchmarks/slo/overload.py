"""Three times the load the fleet can serve for 60 s, two classes, with admission and ordering and without.

`python -m benchmarks.slo.overload` writes benchmarks/results/slo/overload.json. Virtual time: see virtual.py. Time
model: the fake engine's (deployments/fake_steps.py) with the constants below; the policy is the default, and really
runs.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

import numpy as np

from benchmarks.slo import virtual
from benchmarks.slo.fleet import Fleet
from benchmarks.slo.load import Seen, attained, play, poisson, summary
from benchmarks.slo.result import write

REPLICAS, SEATS = 2, 8
ENGINE = {"step_ms": 20, "step_token_ms": 1, "draft_ms": 1, "ttft_ms": 5, "acceptance": 0.7, "max_num_seqs": SEATS}
POLICY = {"safe_policy": {"name": "slo_goodput"}, "k_max": 4}
CLASSES: list[dict[str, Any]] = [
    {"name": "interactive", "ttft_ms": 500, "tpot_ms": 40, "priority": 10, "reserved_slots": 2, "overload": "shed"},
    {"name": "batch", "overload": "queue"},
]
TOKENS = (24, 96)
WARM_S, LOAD_S, AFTER_S = 20.0, 60.0, 30.0
MIX = {"interactive": 0.5, "batch": 0.5}
WINDOW_S = 2.0


def main() -> None:
    """Capacity first, then the same requests at capacity and at three times it."""
    capacity = virtual.run(_capacity())
    rows = {"at_capacity": virtual.run(_run(capacity, 1.0, admission=True))}
    rows["overload"] = virtual.run(_run(capacity, 3.0, admission=True))
    rows["overload_without_admission"] = virtual.run(_run(capacity, 3.0, admission=False))
    kept = rows["overload"]["load"]["interactive"]["attainment_of_served"]
    at_capacity = rows["at_capacity"]["load"]["interactive"]["attainment_of_served"]
    result = {"capacity_rps": round(capacity, 2), "kept_share_of_attainment": round(kept / at_capacity, 4), **rows}
    write("overload", result, {"engine": ENGINE, "classes": CLASSES, "replicas": REPLICAS, "policy": "slo_goodput"})


async def _fleet(*, admission: bool) -> Fleet:
    fleet = Fleet(ENGINE | POLICY, {"classes": CLASSES, "default_class": "batch", "admission": admission}, {})
    await fleet.start(REPLICAS)
    return fleet


async def _capacity() -> float:
    """Requests a second of a fleet that always has some waiting."""
    fleet, rng = await _fleet(admission=True), np.random.default_rng(1)
    seen = await play(fleet, poisson(rng, 20, {"batch": 20.0}, TOKENS))
    served = [s for s in seen if s.status == 200]
    began_s = seen[0].planned.at_s
    ended_s = asyncio.get_running_loop().time() - 1  # the fleet's first second
    await fleet.stop()
    return len(served) / (ended_s - began_s)


async def _run(capacity: float, factor: float, *, admission: bool) -> dict[str, Any]:
    fleet, rng = await _fleet(admission=admission), np.random.default_rng(2)
    calm = {of: 0.5 * share * capacity for of, share in MIX.items()}
    rush = {of: factor * share * capacity for of, share in MIX.items()}
    end_s = WARM_S + LOAD_S
    plan = poisson(rng, WARM_S, calm, TOKENS) + poisson(rng, end_s, rush, TOKENS, WARM_S)
    plan += poisson(rng, end_s + AFTER_S, calm, TOKENS, end_s)
    before_kib = _peak_kib()
    seen = await play(fleet, plan)
    fallbacks = await fleet.fallbacks()
    await fleet.stop()
    loaded = [s for s in seen if WARM_S <= s.planned.at_s < end_s]
    return {
        "load": summary(loaded, CLASSES),
        "recovered_after_s": _recovered_s([s for s in seen if s.planned.at_s >= end_s], end_s),
        "policy_fallbacks": fallbacks,
        "peak_memory_growth_mib": round((_peak_kib() - before_kib) / 1024, 1),
    }


def _recovered_s(seen: list[Seen], end_s: float) -> float | None:
    """From the end of the overload: the first window from which on every interactive request attains."""
    missed = [s.planned.at_s - end_s for s in seen if s.planned.of == "interactive" and not attained(s, CLASSES)]
    last_s = max(missed, default=0.0)
    return None if last_s > AFTER_S - WINDOW_S else round(last_s, 2)


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
