"""`python -m tests.faults.storm`: a hundred configs in a minute, good and bad, while clients ask.

What must hold: nothing is lost, no process restarts, every bad one is refused and counted, and at the end the last
good policy is live on every replica.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import replace
from typing import Any

from benchmarks.clients import clients
from tests.cluster.service import Service, eventually
from tests.faults import graphs
from tests.faults.graphs import Case
from tests.faults.result import Row, row, save, show

GOOD: list[dict[str, Any]] = [
    {"policy": {"name": "fixed", "params": {"k": 1}}},
    {"policy": {"name": "slo_goodput"}},
    {"policy": {"name": "off"}},
    {"policy": {"name": "tests.cluster.own_policy:half"}},
]
BAD: list[dict[str, Any]] = [
    {"policy": {"name": "nosuch"}},
    {"policy": {"name": "fixed", "params": {"k": -1}}},
    {"policy": {"name": "no.such.module:policy"}},
    {"polcy": {"name": "off"}},
    {"policy": {"name": "off"}, "report_every_s": 0},
]
LAST = {"name": "fixed", "params": {"k": 4}}
REPLICAS = 2
FIGURES = ["swaps", "seconds", "applied", "rejected", "live after s"]


def sequence(swaps: int) -> list[dict[str, Any]]:
    """Good and bad in turn."""
    return [(GOOD[i // 2 % len(GOOD)] if i % 2 else BAD[i // 2 % len(BAD)]) for i in range(swaps)]


async def storm(service: Service, swaps: int, seconds: float) -> Row:
    """Swaps evenly over the time; then the last good one, and one more bad one."""
    pids, before = await asyncio.to_thread(service.pids), await asyncio.to_thread(outcomes, service)
    async with clients(service.url, deadline_s=30) as load:
        async with load.loops(12, Case().body):
            began_s = time.monotonic()
            for number, config in enumerate(sequence(swaps)):
                await asyncio.sleep(max(0.0, began_s + number * seconds / swaps - time.monotonic()))
                await asyncio.to_thread(service.reload, **config)
            took_s = time.monotonic() - began_s
            live_s = await asyncio.to_thread(last, service)
        applied, rejected = (now - then for now, then in zip(outcomes(service), before, strict=True))
        figures = (float(swaps), took_s, applied, rejected, live_s)
        judged = row(f"{swaps} swaps", load.ended, frozenset(), **dict(zip(FIGURES, figures, strict=True)))
    return replace(judged, wrong=judged.wrong + wrong(service, pids, rejected))


def last(service: Service) -> float:
    """Seconds until the last good one is live everywhere; then a bad one is refused everywhere."""
    began_s = time.monotonic()
    service.reload(policy=LAST)
    eventually(lambda: everywhere(service))
    live_s = time.monotonic() - began_s
    service.reload(**BAD[0])
    eventually(lambda: all(p["last_rejection"] for p in service.policies()))
    return live_s


def everywhere(service: Service) -> bool:
    policies = service.policies()
    return len(policies) == REPLICAS and all(p["policy"] == LAST for p in policies)


def outcomes(service: Service) -> tuple[float, float]:
    """Configs applied and rejected, over all replicas."""
    applied, rejected = (service.total("adaspec_reloads_total", outcome=of) for of in ("applied", "rejected"))
    return applied, rejected


def wrong(service: Service, pids: set[int], rejected: float) -> list[str]:
    """What does not hold beside the requests."""
    checks = {
        "a replica was restarted": service.pids() == pids,
        "the last good policy is not live on every replica": everywhere(service),
        "nothing was rejected": rejected > 0,
    }
    return [said for said, holds in checks.items() if not holds]


def run(service: Service, swaps: int, seconds: float) -> Row:
    service.deploy(graphs.fake(REPLICAS))
    service.ready(REPLICAS)
    return asyncio.run(storm(service, swaps, seconds))


def main() -> int:
    """Exit status 1 if anything did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with graphs.served() as service:
        rows = [run(service, options.swaps, options.seconds)]
    show(rows, FIGURES)
    save("storm", rows, vars(options))
    return 0 if all(of.good for of in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
