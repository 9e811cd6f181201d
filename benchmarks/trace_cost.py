"""What tracing costs while its OTLP endpoint is down or slow, with every request traced.

Three applications with one fake engine each: spans off, spans to a port nobody listens on, spans to a port that takes
the connection and never answers. Rounds take turns; a round's p50 and p95 TPOT are compared with those of the round
with spans off beside it. The bound is the 97.5 % quantile of the bootstrapped mean ratio over the rounds.

Run: python -m benchmarks.trace_cost
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from benchmarks.fakes import application, cluster, tpots_s
from benchmarks.provenance import provenance
from benchmarks.servers import free_port

GOAL = 1.05
QUANTILES = {"p50": 0.5, "p95": 0.95}
ARMS = ("off", "down", "slow")
WARM_UP_S = 8.0  # the policy learns, connections and exporters start


async def measure(url: str, rounds: int, seconds: float, streams: int) -> dict[str, list[dict[str, float]]]:
    """By arm, each round's TPOT quantiles in seconds. Raises when any request fails."""
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    async with aiohttp.ClientSession() as session:
        for arm in ARMS:
            await tpots_s(session, f"{url}/{arm}", WARM_UP_S, streams)
        for turn in range(rounds):
            for arm in ARMS[turn % 3 :] + ARMS[: turn % 3]:
                tpots = await tpots_s(session, f"{url}/{arm}", seconds, streams)
                quantiles = {name: float(np.quantile(tpots, q)) for name, q in QUANTILES.items()}
                found[arm].append({**quantiles, "requests": float(len(tpots))})
    return found


def compared(found: dict[str, list[dict[str, float]]], arm: str, name: str) -> dict[str, float]:
    """Geometric mean of the rounds' ratios, with its bootstrapped bound."""
    logs = np.log([on[name] / off[name] for on, off in zip(found[arm], found["off"], strict=True)])
    rng = np.random.default_rng(0)
    means = rng.choice(logs, (10_000, len(logs))).mean(axis=1)
    return {"ratio": float(np.exp(logs.mean())), "upper_95": float(np.exp(np.quantile(means, 0.975)))}


def tracing(endpoint_port: int) -> dict[str, Any]:
    """`args.tracing` with that endpoint, on this machine."""
    return {"exporter": "otlp", "endpoint": f"http://127.0.0.1:{endpoint_port}/v1/traces", "queue_spans": 512}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 when a bound is above its goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/trace_cost/result.json"))
    options = parser.parse_args(argv)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:  # connections are taken, and never answered
        args = {"off": {"exporter": "off"}, "down": tracing(free_port()), "slow": tracing(mute.getsockname()[1])}
        with cluster(*(application(arm, f"/{arm}", 1, tracing=args[arm]) for arm in ARMS)) as url:
            found = asyncio.run(measure(url, options.rounds, options.seconds, options.streams))
    table = {arm: {name: compared(found, arm, name) for name in QUANTILES} for arm in ARMS[1:]}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    written = {"provenance": provenance(vars(options)), "goal": GOAL, "ratios": table, "rounds": found}
    options.out.write_text(json.dumps(written, indent=1) + "\n")
    for arm, by_quantile in table.items():
        for name, r in by_quantile.items():
            print(f"endpoint {arm}, TPOT {name}: ratio {r['ratio']:.3f}, upper bound {r['upper_95']:.3f}")
    return 0 if all(r["upper_95"] <= GOAL for of in table.values() for r in of.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
