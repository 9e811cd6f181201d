"""Processes of the service under test, found below this one: what may be killed, and how to see that it is back."""

from __future__ import annotations

import os
import signal

from benchmarks.servers import title, tree
from tests.cluster.service import Service, eventually

TITLES = {
    "monitor": "ServeReplica:adaspec:LoadMonitor",
    "ingress": "ServeReplica:adaspec:Ingress",
    "replica": "ServeReplica:adaspec:Replica",
    "proxy": "ProxyActor",
    "engine core": "VLLM::EngineCore",
    "worker": "VLLM::Worker",
}


def pids(what: str) -> set[int]:
    """Of that part of the service, now."""
    return {pid for pid in tree(os.getpid()) if TITLES[what] in title(pid)}


def one(what: str) -> int:
    """Of that part of the service. Raises RuntimeError where none runs."""
    if not (found := pids(what)):
        running = sorted({title(pid)[:60].strip() for pid in tree(os.getpid())})
        raise RuntimeError(f"no {what} runs; what does: {running}")
    return min(found)


def kill(what: str) -> None:
    """One of them, at once."""
    os.kill(one(what), signal.SIGKILL)


def another(what: str, before: set[int], within_s: float = 120) -> int:
    """The first that was not there before."""
    return int(min(eventually(lambda: pids(what) - before, within_s)))


def whole(service: Service, replicas: int, what: str, gone: int, count: int) -> bool:
    """`count` of `what` run without the one that is gone, every replica reports, and the service says it is ready."""
    now = pids(what)
    return len(now) == count and gone not in now and service.answers(replicas) and service.pids() == pids("replica")
