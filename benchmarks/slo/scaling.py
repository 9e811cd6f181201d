"""One replica, four, one: a bursty trace under the monitor's decisions, against a fixed fleet of the same mean size.

`python -m benchmarks.slo.scaling` writes benchmarks/results/slo/scaling.json. Virtual time: see virtual.py. What Serve
does with the decision (start a replica in START_S, drain one) is done by this script.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from benchmarks.slo import virtual
from benchmarks.slo.fleet import Fleet
from benchmarks.slo.load import Planned, play, poisson, summary
from benchmarks.slo.result import write

SEATS, START_S = 8, 10.0
ENGINE = {"step_ms": 20, "step_token_ms": 1, "draft_ms": 1, "ttft_ms": 5, "acceptance": 0.7, "max_num_seqs": SEATS}
POLICY = {"safe_policy": {"name": "fixed", "params": {"k": 2}}, "k_max": 4}
CLASSES: list[dict[str, Any]] = [{"name": "interactive", "ttft_ms": 1000, "tpot_ms": 50, "overload": "queue"}]
MONITOR = {
    "start_s": START_S,
    "scaling": {"max_replicas": 4, "down_after_s": 10, "target_load": 0.7, "down_load": 0.5},
}
QUIET_RPS, BURSTS_RPS = 2.0, (22.0, 30.0)
BURST_S, END_S = (40.0, 80.0), 140.0
RAMP_S = 15.0


def main() -> None:
    """Autoscaled, then the fixed fleet next below and above its mean size."""
    rows = {}
    for rps in BURSTS_RPS:
        scaled = virtual.run(_run(1, rps, scaled=True))
        mean = scaled["mean_replicas"]
        fixed = {str(n): virtual.run(_run(n, rps, scaled=False)) for n in sorted({int(mean), int(mean) + 1})}
        rows[f"burst of {rps:.0f} requests/s"] = {"autoscaled": scaled, "fixed": fixed}
    write("scaling", rows, {"engine": ENGINE, "classes": CLASSES, "monitor": MONITOR, "ramp_s": RAMP_S})


async def _run(replicas: int, burst_rps: float, *, scaled: bool) -> dict[str, Any]:
    fleet = Fleet(ENGINE | POLICY, {"classes": CLASSES, "default_class": "interactive"}, MONITOR)
    await fleet.start(replicas)
    sizes: list[int] = []
    follow = asyncio.create_task(_follow(fleet, sizes, scaled=scaled))
    seen = await play(fleet, _plan(burst_rps))
    await asyncio.sleep(60 if scaled else 0)
    follow.cancel()
    await fleet.stop()
    steps = [n for n, before in zip(sizes, [0, *sizes], strict=False) if n != before]
    return {
        "mean_replicas": round(float(np.mean(sizes[: int(END_S)])), 3),
        "sizes": steps,
        **summary(seen, CLASSES),
    }


async def _follow(fleet: Fleet, sizes: list[int], *, scaled: bool) -> None:
    """Once a second, as Serve's autoscaler would."""
    starting: set[asyncio.Task[None]] = set()
    while True:
        await asyncio.sleep(1)
        sizes.append(len(fleet.routed))
        wanted = (await fleet.monitor.slo()).desired_replicas if scaled else len(fleet.routed)
        starting = {task for task in starting if not task.done()}
        for _ in range(wanted - len(fleet.routed) - len(starting)):
            starting.add(asyncio.create_task(_start(fleet)))
        if wanted < len(fleet.routed) and not starting:
            starting.add(asyncio.create_task(fleet.drain()))


async def _start(fleet: Fleet) -> None:
    await asyncio.sleep(START_S)
    await fleet.add()


def _plan(burst_rps: float) -> list[Planned]:
    """Quiet, a burst that begins with a ramp, quiet again."""
    rng, (start_s, end_s) = np.random.default_rng(3), BURST_S
    plan = []
    for begin_s, until_s, rps in ((0.0, start_s, QUIET_RPS), (start_s, end_s, burst_rps), (end_s, END_S, QUIET_RPS)):
        plan += poisson(rng, until_s, {"interactive": rps}, (24, 256), begin_s)
    return [p for p in plan if not start_s <= p.at_s < end_s or rng.random() < (p.at_s - start_s) / RAMP_S]


if __name__ == "__main__":
    main()
