"""`python -m tests.faults.abuse`: clients that leave, that come all at once, and three times as many as can be served.

What must hold: nothing is lost, and afterwards no slot, KV block, task or descriptor is left taken.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clients import Clients, Draw, Outcome, arrivals, capacity_rps, clients
from tests.cluster.service import Service
from tests.faults import graphs, victims
from tests.faults.graphs import DEMO, Case
from tests.faults.result import Row, row, save, show

AT_ONCE = 25
NOBODY: frozenset[Outcome] = frozenset()
LEFT: frozenset[Outcome] = frozenset({"left"})
PARTS = ("ingress", "replica", "proxy")
FIGURES = ["tasks before", "tasks after", "files before", "files after", "idle after s", "slowest s"]
SPARE_TASKS, SPARE_FILES = 8, 16
"""What may come and go by itself: a report under way, a connection of the one who looks."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What the service holds."""

    held: dict[str, float]  # what is not nothing, of requests and KV blocks
    tasks: float  # in the event loops of ingress and replicas
    files: int  # open descriptors of ingress, replicas and proxy


def taken(service: Service) -> Taken:
    classes = service.http.get("/v1/slo").json()["classes"].values()
    held = {f"{what} at the door": sum(of[what] for of in classes) for what in ("running", "waiting")}
    engines = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")
    tasks = service.total("adaspec_ingress_tasks") + service.total("adaspec_replica_tasks")
    pids = [pid for part in PARTS for pid in victims.pids(part)]
    files = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
    held |= {name: service.total(name) for name in engines}
    return Taken({name: count for name, count in held.items() if count}, tasks, files)


async def idle(service: Service, within_s: float = 30) -> tuple[Taken, float]:
    """What is held once nothing runs, and how long that took; the last look where it does not come to that."""
    began_s = time.monotonic()
    while True:
        now, took_s = await asyncio.to_thread(taken, service), time.monotonic() - began_s
        if not now.held or took_s > within_s:
            return now, took_s
        await asyncio.sleep(0.2)


async def judged(service: Service, what: str, act: Any, allowed: frozenset[Outcome]) -> Row:
    """Does it, and looks at what is held before and after."""
    before, _ = await idle(service)
    async with clients(service.url, deadline_s=60) as load:
        await act(load)
        after, after_s = await idle(service)
        known = [r.answered_s - r.sent_s for r in load.ended if r.answered_s and r.outcome != "left"]
        figures = (before.tasks, after.tasks, before.files, after.files, after_s, max(known, default=0.0))
        found = row(what, load.ended, allowed, **dict(zip(FIGURES, figures, strict=True)))
    return replace(found, wrong=found.wrong + wrong(before, after))


def wrong(before: Taken, after: Taken) -> list[str]:
    checks = {
        f"still held: {after.held}; before: {before.held}": not after.held,
        f"{after.tasks - before.tasks:g} tasks more": after.tasks <= before.tasks + SPARE_TASKS,
        f"{after.files - before.files} descriptors more": after.files <= before.files + SPARE_FILES,
    }
    return [said for said, holds in checks.items() if not holds]


async def disconnects(load: Clients, case: Case, count: int) -> None:
    """Half of the clients go away before the first token, half in the middle of their stream."""
    seats = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with seats:
            body = case.body(number) | {"stream": True}
            if number % 2:
                await load.send(body, leave_after=2 + number % 5)
                return
            asked = asyncio.create_task(load.send(body))
            await asyncio.wait([asked], timeout=0.001 * (number % 40))
            asked.cancel()
            await asyncio.wait([asked])

    await asyncio.gather(*map(one, range(count)))


async def at_once(load: Clients, case: Case, count: int) -> None:
    """So many connections in the same moment."""
    await asyncio.gather(*(load.send(case.body(number) | {"max_tokens": 4}) for number in range(count)))


async def overload(load: Clients, case: Case, times: float, seconds: float) -> None:
    """`times` what the service can do."""
    numbers = iter(range(1 << 30))

    def draw() -> Draw:
        return case.body(next(numbers)), None

    rps = await capacity_rps(load, draw, 2 * case.clients, min(15.0, seconds))
    load.ended.clear()
    await arrivals(load, draw, np.random.default_rng(0), times * rps, seconds)


async def run(
    service: Service, case: Case, options: argparse.Namespace, after: Callable[[Row], None] = lambda _: None
) -> list[Row]:
    """All three; `after` each."""
    async with clients(service.url) as load:
        await disconnects(load, case, 2 * AT_ONCE)  # connections between the parts are made once
    tried = [
        (f"{options.disconnects} disconnects", lambda load: disconnects(load, case, options.disconnects), LEFT),
        (f"{options.connects} at once", lambda load: at_once(load, case, options.connects), NOBODY),
        (f"3x for {options.seconds:.0f} s", lambda load: overload(load, case, 3, options.seconds), NOBODY),
    ]
    rows: list[Row] = []
    for one in tried:
        rows.append(await judged(service, *one))
        after(rows[-1])
    return rows


def main() -> int:
    """Exit status 1 if anything did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("fake", "vllm"), default="fake")
    parser.add_argument("--disconnects", type=int, default=1000)
    parser.add_argument("--connects", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with graphs.served() as service:
        case = DEMO if options.engine == "vllm" else Case()
        service.deploy(graphs.of(case))
        service.ready(case.replicas)
        name = f"abuse_{options.engine}"
        rows = asyncio.run(run(service, case, options, lambda of: save(name, [of], vars(options))))
    show(rows, FIGURES)
    return 0 if all(of.good for of in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
