"""`python -m tests.faults.policies`: policies that raise, overrun, loop, exit or answer nonsense, while clients ask.

What must hold: nothing is lost, no process restarts, and each kind of fault is counted.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

from benchmarks.clients import clients
from tests.cluster.service import Service, eventually
from tests.faults import graphs
from tests.faults.kills import Case
from tests.faults.own_policies import COUNTED
from tests.faults.result import Row, row, save, show

REPLICAS = 2
FIGURES = ["counted", "fallbacks"]


async def tried(service: Service, name: str, seconds: float) -> Row:
    """Runs under that policy for so long."""
    kind, pids = COUNTED[name], await asyncio.to_thread(service.pids)
    before = await asyncio.to_thread(service.total, "adaspec_fallbacks_total", kind=kind)
    async with clients(service.url, deadline_s=30) as load:
        async with load.loops(12, Case().body):
            await asyncio.to_thread(live, service, f"tests.faults.own_policies:{name}")
            await asyncio.sleep(seconds)
        counted = await asyncio.to_thread(service.total, "adaspec_fallbacks_total", kind=kind) - before
        active = await asyncio.to_thread(service.total, "adaspec_fallback_active")
        judged = row(f"policy {name}", load.ended, frozenset(), counted=counted, fallbacks=active)
    said = [] if counted else [f"no {kind} was counted"]
    restarted = [] if service.pids() == pids else ["a replica was restarted"]
    return replace(judged, wrong=judged.wrong + said + restarted)


def live(service: Service, name: str) -> None:
    service.reload(policy={"name": name})
    eventually(lambda: [p["policy"]["name"] for p in service.policies()] == [name] * REPLICAS)


def run(service: Service, names: list[str], seconds: float) -> list[Row]:
    service.deploy(graphs.fake(REPLICAS))
    service.ready(REPLICAS)
    return [asyncio.run(tried(service, name, seconds)) for name in names]


def main() -> int:
    """Exit status 1 if anything did not hold."""
    with graphs.served() as service:
        rows = run(service, list(COUNTED), 5.0)
    show(rows, FIGURES)
    save("policies", rows, {"engine": "fake", "replicas": REPLICAS})
    return 0 if all(of.good for of in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
