"""`python -m tests.faults.kills`: kill -9 of every part of the service, at every moment, while clients ask.

Or SIGSTOP: a part that hangs is found out by its steps, or by Serve asking how it does.

What must hold: a request that has not begun is served elsewhere or gets 429 or 503 with Retry-After; a stream whose
engine is lost ends in one error event; one whose connection is lost ends without [DONE]; the service comes back.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

from benchmarks.clients import Clients, Outcome, Request, clients
from benchmarks.servers import title
from tests.cluster.service import Service
from tests.faults import graphs, victims
from tests.faults.graphs import DEMO, Case
from tests.faults.result import Row, row, save, show

MOMENTS = ("start", "prefill", "stream", "swap", "stopped")
ENDS: dict[str, frozenset[Outcome]] = {
    "replica": frozenset({"error event"}),
    "engine core": frozenset({"error event"}),
    "worker": frozenset({"error event"}),
    "monitor": frozenset(),
    "ingress": frozenset({"closed"}),
    "proxy": frozenset({"closed"}),
}
"""How requests under way may end when that part is killed."""
FIGURES = ["open", "streams", "cut", "slowest s", "served again s", "whole again s"]
SWAPPED = {"name": "fixed", "params": {"k": 3}}


async def tried(service: Service, case: Case) -> Row:
    """Kills once all is well, and asks on until all is well again."""
    async with clients(service.url, deadline_s=case.within_s) as load:
        async with load.loops(case.clients, case.body):
            await _until(lambda: len(load.streaming()) >= case.clients // 3, case.within_s)
            count, gone = len(victims.pids(case.victim)), await _moment(service, load, case)
            open_, streams = len(load.open), len(load.streaming())
            killed_s = time.monotonic()
            engines = victims.pids("engine core") | victims.pids("worker")
            os.kill(gone, signal.SIGSTOP if case.moment == "stopped" else signal.SIGKILL)
            back_s = await _back(service, case, gone, count, killed_s)
            await asyncio.sleep(1)
        cut = _cut(load.ended, case, killed_s)
        figures = _figures(load.ended, killed_s, back_s) | {"open": open_, "streams": streams, "cut": len(cut)}
        judged = row(case.name, [r for r in load.ended if r not in cut], ENDS[case.victim], **figures)
    left = [f"process {pid} of a lost engine is still there" for pid in engines if "VLLM" in title(pid)]
    stale = case.moment == "swap" and any(p["policy"] != SWAPPED for p in service.policies())
    left += ["the new policy is not live on every replica"] if stale else []
    return replace(judged, tried=judged.tried + len(cut), wrong=judged.wrong + _wrong(judged, case) + left)


async def _moment(service: Service, load: Clients, case: Case) -> int:
    """Waits for it; the process to harm then."""
    gone, before = victims.one(case.victim), victims.pids(case.victim)
    if case.moment == "start":
        os.kill(gone, signal.SIGKILL)
        return await asyncio.to_thread(victims.another, case.victim, before)
    if case.moment == "prefill":
        await _until(lambda: len(load.opening()) >= 2, case.within_s)
    elif case.moment == "swap":
        await asyncio.to_thread(service.reload, policy=SWAPPED)
    else:
        await _until(lambda: len(load.streaming()) >= case.clients // 2, case.within_s)
    return gone


async def _back(service: Service, case: Case, gone: int, count: int, killed_s: float) -> float | None:
    """Seconds until all is as before; None: not in time."""
    while time.monotonic() - killed_s < case.within_s:
        if await asyncio.to_thread(victims.whole, service, case.replicas, case.victim, gone, count):
            return time.monotonic() - killed_s
        await asyncio.sleep(0.1)
    return None


async def _until(true: Any, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110 - many small things make it true
            await asyncio.sleep(0.005)


def _cut(ended: list[Request], case: Case, killed_s: float) -> list[Request]:
    """Requests that were inside the killed ingress or proxy and had not begun: nobody is left who knows of them.

    The client of a lost proxy sees its connection end; for a lost ingress Serve's proxy answers 500.
    """
    early = [r for r in ended if r.sent_s < killed_s and not r.first_s and r.outcome in ("closed", "lost")]
    return early if case.victim in ("ingress", "proxy") else []


def _figures(ended: list[Request], killed_s: float, back_s: float | None) -> dict[str, float | None]:
    later = [request for request in ended if request.sent_s > killed_s]
    known = [request.answered_s - request.sent_s for request in later if request.answered_s]
    served = [request.answered_s - killed_s for request in later if request.outcome == "served" and request.answered_s]
    return {
        "slowest s": max(known, default=None),
        "served again s": min(served, default=None),
        "whole again s": back_s,
    }


def _wrong(judged: Row, case: Case) -> list[str]:
    """What does not hold beside the requests themselves."""
    found = [] if judged.figures["whole again s"] is not None else [f"not as before within {case.within_s:.0f} s"]
    slowest_s = judged.figures["slowest s"] or 0.0
    if case.moment == "stopped":  # who was sent there waits until it is found out
        return found
    return found + ([f"an answer took {slowest_s:.1f} s"] if slowest_s > case.served_within_s else [])


def cases(engine: str, only: list[str]) -> list[Case]:
    """The matrix; `only`: victims."""
    if engine == "vllm":
        of = [replace(DEMO, victim=v, moment=m) for v, m in product(("engine core", "worker", "replica"), MOMENTS)]
    else:
        both = Case()
        parts = [replace(both, victim=victim) for victim in ("replica", "monitor", "ingress", "proxy")]
        parts += [replace(both, victim="replica", replicas=1), replace(both, victim="ingress", ingresses=2)]
        every = [replace(part, moment=moment) for part, moment in product(parts, MOMENTS)]
        of = [case for case in every if case.moment != "stopped" or case.victim == "replica"]
    return [case for case in of if not only or case.victim in only]


def run(service: Service, matrix: list[Case], after: Callable[[Row], None]) -> list[Row]:
    """One after the other, each on a service that is as it was."""
    rows: list[Row] = []
    for case in matrix:
        service.deploy(graphs.of(case))
        service.ready(case.replicas)
        rows.append(asyncio.run(tried(service, case)))
        after(rows[-1])
    return rows


def main() -> int:
    """Exit status 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("fake", "vllm"), default="fake")
    parser.add_argument("--victims", nargs="*", default=[])
    parser.add_argument("--moments", nargs="*", default=list(MOMENTS))
    parser.add_argument("--slack", type=float, default=1.0, help="times as long an answer may take")
    options = parser.parse_args()
    every = [replace(case, slack=options.slack) for case in cases(options.engine, options.victims)]
    matrix = [case for case in every if case.moment in options.moments]
    with graphs.served() as service:
        rows = run(service, matrix, lambda of: save(f"kills_{options.engine}", [of], vars(options)))
    show(rows, FIGURES)
    return 0 if all(of.good for of in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
