"""What deciding about one arrival costs, by replicas and requests in line.

`python -m benchmarks.slo.decision` writes benchmarks/results/slo/decision.json. CPU time of the one thread that
decides, so that whatever else the machine does is not counted; wall time beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import numpy as np

from benchmarks.slo.result import write
from deployments.admission import Asked, Door
from deployments.door_metrics import DoorMetrics
from deployments.errors import ApiError
from deployments.live import Live
from deployments.settings import IngressConfig
from policies.fleet.ledger import Sent
from policies.fleet.track import ReplicaFigures

CLASSES = [
    {"name": "interactive", "ttft_ms": 500, "tpot_ms": 50, "priority": 10, "reserved_slots": 2, "overload": "shed"},
    {"name": "standard", "ttft_ms": 5000, "priority": 5},
    {"name": "batch"},
]
REPLICAS, LINES, ARRIVALS, SEATS = (1, 4, 16), (0, 250), 2000, 8
BUDGET_MS = 1.0


def main() -> None:
    """Every combination; the budget is for the slowest."""
    rows = [
        {"replicas": replicas, "in_line": line, "full": full, **asyncio.run(_run(replicas, line, full=full))}
        for replicas in REPLICAS
        for line in LINES
        for full in ((True,) if line else (False, True))
    ]
    write("decision", {"budget_p99_ms": BUDGET_MS, "rows": rows}, {"classes": CLASSES, "arrivals": ARRIVALS})


async def _run(replicas: int, line: int, *, full: bool) -> dict[str, float]:
    live = Live(IngressConfig.model_validate({"classes": CLASSES, "default_class": "batch"}))
    door = Door(live, DoorMetrics())
    door.told([_figures(f"r{i}", SEATS if full else 0) for i in range(replicas)])
    held = [asyncio.create_task(door.enter(_asked(live, "batch", i))) for i in range(line)]
    await asyncio.sleep(0)
    took_ms = [await _arrive(door, _asked(live, "interactive", i)) for i in range(ARRIVALS)]
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    cpu, wall = np.array(took_ms).T
    found = {"cpu": cpu, "wall": wall}
    return {f"{what}_p{q}_ms": round(float(np.percentile(ms, q)), 4) for what, ms in found.items() for q in (50, 99)}


async def _arrive(door: Door, asked: Asked) -> tuple[float, float]:
    """Milliseconds (CPU, wall) from the door to a seat or a refusal; the seat is given back outside of them."""
    sent: Sent | None = None
    began_s, began_cpu_s = time.perf_counter(), time.thread_time()
    with contextlib.suppress(ApiError):
        sent = await door.enter(asked)
    took_ms = 1e3 * (time.thread_time() - began_cpu_s), 1e3 * (time.perf_counter() - began_s)
    if sent is not None:
        door.leave(sent)
    return took_ms


def _asked(live: Live[IngressConfig], of: str, i: int) -> Asked:
    return Asked(next(c for c in live.now.classes if c.name == of), f"prompt {i} " * 60, tokens=150, seats=1)


def _figures(name: str, batch: int) -> ReplicaFigures:
    return ReplicaFigures(
        replica=name,
        age_s=0.0,
        batch=batch,
        waiting=0,
        backlog_tokens=0,
        seats=SEATS,
        step_s=0.03,
        step_per_request_s=0.001,
        tokens_per_step=2.0,
        prefill_tokens_per_s=5000,
        residence_s=20.0,
    )


if __name__ == "__main__":
    main()
