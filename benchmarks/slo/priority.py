"""A hundred batch requests wait: what an interactive request's first token takes, against an idle replica.

`python -m benchmarks.slo.priority` writes benchmarks/results/slo/priority.json. Virtual time: see virtual.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from benchmarks.slo import virtual
from benchmarks.slo.fleet import Fleet
from benchmarks.slo.load import Planned, Seen, send
from benchmarks.slo.result import write

SEATS, BATCH, PROBES = 8, 100, 100
ENGINE = {"step_ms": 20, "step_token_ms": 1, "draft_ms": 1, "ttft_ms": 5, "acceptance": 0.7, "max_num_seqs": SEATS}
POLICY = {"safe_policy": {"name": "fixed", "params": {"k": 2}}, "k_max": 4}
CLASSES: list[dict[str, Any]] = [
    {"name": "interactive", "ttft_ms": 500, "tpot_ms": 100, "priority": 10, "reserved_slots": 2, "overload": "shed"},
    {"name": "batch", "overload": "queue"},
]
STEP_MS = 20 + 2 * 1 + (3 * SEATS) * 1  # a step of a full batch: two draft passes, three tokens a request


def main() -> None:
    """With the door, and without it."""
    rows = {}
    for name, admission in (("with_admission", True), ("without_admission", False)):
        idle, busy = virtual.run(_run(0, admission=admission)), virtual.run(_run(BATCH, admission=admission))
        rows[name] = {
            "idle_ttft_p95_ms": idle,
            "busy_ttft_p95_ms": busy,
            "steps_more": round((busy - idle) / STEP_MS, 2),
        }
    write("priority", {"step_ms": STEP_MS, **rows}, {"engine": ENGINE, "classes": CLASSES, "batch": BATCH})


async def _run(batch: int, *, admission: bool) -> float:
    """TTFT p95 of interactive requests, one every half second, in milliseconds."""
    fleet = Fleet(ENGINE | POLICY, {"classes": CLASSES, "default_class": "batch", "admission": admission}, {})
    await fleet.start(1)
    rng = np.random.default_rng(0)
    crowd = [asyncio.create_task(_again(fleet, i)) for i in range(batch)]
    await asyncio.sleep(2)
    seen: list[Seen] = []
    for i in range(PROBES):
        await asyncio.sleep(rng.uniform(0.3, 0.7))
        seen.append(await send(fleet, Planned(0.0, "interactive", 4, f"probe {i}")))
    for task in crowd:
        task.cancel()
    await asyncio.wait([*crowd, asyncio.create_task(asyncio.sleep(0))])
    await fleet.stop()
    return round(float(np.percentile([1e3 * s.ttft_s for s in seen], 95)), 2)


async def _again(fleet: Fleet, i: int) -> None:
    """A client that always has a batch request under way or waiting."""
    while True:
        await send(fleet, Planned(0.0, "batch", 64, f"batch {i}"))


if __name__ == "__main__":
    main()
