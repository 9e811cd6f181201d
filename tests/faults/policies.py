"""`python -m tests.faults.policies`: policies that raise, overrun, loop, exit or answer nonsense, while clients ask.

What must hold: nothing is lost, no process restarts, and each kind of fault is counted. Without `--engine vllm` none
loops: the fake engine runs its policy in Ray's event loop, which no timer interrupts as it does vLLM's worker.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import replace

from benchmarks.clients import clients
from tests.cluster.service import Service, eventually
from tests.faults import graphs
from tests.faults.graphs import DEMO, Case
from tests.faults.own_policies import COUNTED
from tests.faults.result import Row, row, save, show

FIGURES = ["counted", "fallbacks"]


async def tried(service: Service, name: str, case: Case, seconds: float) -> Row:
    """Runs under that policy for so long."""
    kind, pids = COUNTED[name], await asyncio.to_thread(service.pids)
    before = await asyncio.to_thread(service.total, "adaspec_fallbacks_total", kind=kind)
    async with clients(service.url) as load:
        async with load.loops(case.clients, case.body):
            await asyncio.to_thread(live, service, f"tests.faults.own_policies:{name}", case.replicas)
            await asyncio.sleep(seconds)
        counted = await asyncio.to_thread(service.total, "adaspec_fallbacks_total", kind=kind) - before
        active = await asyncio.to_thread(service.total, "adaspec_fallback_active")
        judged = row(f"policy {name}", load.ended, frozenset(), counted=counted, fallbacks=active)
    said = [] if counted else [f"no {kind} was counted"]
    restarted = [] if service.pids() == pids else ["a replica was restarted"]
    return replace(judged, wrong=judged.wrong + said + restarted)


def live(service: Service, name: str, replicas: int) -> None:
    service.reload(policy={"name": name})
    eventually(lambda: [p["policy"]["name"] for p in service.policies()] == [name] * replicas)


def run(service: Service, names: list[str], case: Case, seconds: float) -> list[Row]:
    service.deploy(graphs.of(case))
    service.ready(case.replicas)
    return [asyncio.run(tried(service, name, case, seconds)) for name in names]


def main() -> int:
    """Exit status 1 if anything did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("fake", "vllm"), default="fake")
    options = parser.parse_args()
    names = [name for name in COUNTED if options.engine == "vllm" or name != "loops"]
    with graphs.served() as service:
        rows = run(service, names, DEMO if options.engine == "vllm" else Case(), 5.0)
    show(rows, FIGURES)
    save(f"policies_{options.engine}", rows, vars(options))
    return 0 if all(of.good for of in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
