"""Servers on one core, the generator on the rest; one server awake at a time."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.pair import ROOT
from benchmarks.provenance import provenance
from benchmarks.servers import TICKS, Server, free_port
from benchmarks.serving.arms import Arm, command, engine
from loadgen import run as runner
from loadgen.scenario import Scenario, dump

KEPT = ("scenario.yaml", "requests.jsonl", "counters.jsonl", "result.json")
WARM_REQUESTS, WARM_TOKENS = 8, 48
LEARNER = {"name": "slo_goodput", "params": {}}  # visits several K by itself, so the engine's models see them


def cores() -> tuple[int, list[int]]:
    """The servers' core, the last of this process's, and the generator's: what is left of the machine's, if any."""
    server = max(os.sched_getaffinity(0))
    return server, [core for core in range(os.cpu_count() or 1) if core != server] or [server]


def environment(core: int) -> dict[str, str]:
    """The same for every server."""
    found = {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": str(core),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_SERVER_DEV_MODE": "1",  # /collective_rpc, by which policies are swapped and counters read
        "VLLM_USE_V2_MODEL_RUNNER": "0",
        "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "86400",  # a server may be put to sleep within a step, for long
        "VLLM_LOGGING_LEVEL": "WARNING",
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
    }
    openmp = Path(sys.prefix) / "lib" / "libiomp5.so"
    return found | ({"LD_PRELOAD": str(openmp)} if openmp.exists() else {})


@contextmanager
def servers(names: list[str], size: str, schedule: list[list[int]], core: int) -> Iterator[dict[str, Server]]:
    """One after the other; each sleeps (SIGSTOP) as soon as it answers."""
    with ExitStack() as stack:
        found = {}
        for name in names:
            Console().print(f"starting {name}")
            port = free_port()
            words = ["taskset", "-c", str(core), *command(engine(name, schedule), size, port)]
            found[name] = stack.enter_context(Server(words, port, "target", environment(core)))
            with found[name].awake():
                if name == "ours":
                    _swap(found[name], LEARNER)
                warm(found[name])
        yield found


def warm(server: Server) -> None:
    """A batch whose answers nobody times: the first steps of an engine allocate."""
    body = {"model": "target", "prompt": "def main():\n", "max_tokens": WARM_TOKENS, "temperature": 0}
    with ThreadPoolExecutor(WARM_REQUESTS) as pool:
        for done in [pool.submit(_post, server, "/v1/completions", body) for _ in range(WARM_REQUESTS)]:
            done.result()


def measure(server: Server, arm: Arm, scenario: Scenario, out: Path, work: Path) -> dict[str, Any]:
    """One run, with the engine's counters before and after; its files appear in `out` only when it is finished.

    Raises:
        RuntimeError: the policy was refused, or the generator gave no result.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / "asked.yaml").write_text(dump(scenario))
    with server.awake():
        if arm.policy is not None:
            _swap(server, arm.policy)
        before, cpu_s, busy_s, started_s = report(server, arm), server.cpu_s(), _busy_s(server), time.monotonic()
        chosen = runner.Options(scenario=str(work / "asked.yaml"), url=server.url, out=work)
        result = runner.measure(chosen, Console())
        after, cpu_s, busy_s = report(server, arm), server.cpu_s() - cpu_s, _busy_s(server) - busy_s
        foreign = max(0.0, busy_s - cpu_s) / (time.monotonic() - started_s)
    if result is None:
        raise RuntimeError(f"no result: see {work / 'locust.log'}")
    for name in KEPT:
        out.mkdir(parents=True, exist_ok=True)
        shutil.copy(work / name, out / name)
    found: dict[str, Any] = {"arm": arm.name, "policy": arm.policy, "before": before, "after": after}
    found |= {"server_cpu_s": cpu_s, "foreign_share": foreign}
    found["provenance"] = provenance({"scenario": scenario.name, "seed": scenario.seed, "arm": arm.name})
    (out / "engine.json").write_text(json.dumps(found, indent=1) + "\n")
    return result


def _busy_s(server: Server) -> float:
    """CPU time spent since boot on the cores this server may use, by anybody."""
    mine = {f"cpu{core}" for core in os.sched_getaffinity(server.tree()[0])}
    rows = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    idle_columns = {4, 5}  # idle and waiting for a disk
    ticks = sum(int(v) for row in rows if row[0] in mine for i, v in enumerate(row[:9]) if i and i not in idle_columns)
    return ticks / TICKS


def report(server: Server, arm: Arm) -> dict[str, Any] | None:
    """Our engine's own counters; None for a stock engine."""
    return None if arm.policy is None else _rpc(server, "exchange", [])


def _swap(server: Server, policy: dict[str, Any]) -> None:
    answer = _rpc(server, "set_policy", [policy["name"], policy["params"]])
    if not answer["ok"]:
        raise RuntimeError(answer["error"])


def _rpc(server: Server, method: str, args: list[Any]) -> dict[str, Any]:
    (found,) = _post(server, "/collective_rpc", {"method": method, "args": args})["results"]
    value: dict[str, Any] = found if isinstance(found, dict) else json.loads(found)
    return value


def _post(server: Server, path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    asked = urllib.request.Request(server.url + path, json.dumps(body).encode(), headers)  # noqa: S310 - http
    with urllib.request.urlopen(asked, timeout=120) as answer:  # noqa: S310 - http
        found: dict[str, Any] = json.load(answer)
    return found
