"""What the live page costs: CPU of the whole service with and without a reader, 8 fake replicas under light load.

Rounds take turns: nobody watches, one reader at 4 Hz, nobody again. The cost is the middle less the mean of its
neighbours, so that a drift of the machine cancels.

Run: python -m benchmarks.page_cost
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from benchmarks.fakes import application, cluster, cpu_s, tpots_s
from benchmarks.provenance import provenance

GOAL = 0.03  # of a core


async def measure(url: str, rounds: int, seconds: float, streams: int) -> dict[str, Any]:
    """Cores used, round by round."""
    async with aiohttp.ClientSession() as session:
        load = asyncio.create_task(tpots_s(session, url, (2 * rounds + 1) * (seconds + 1) + 5, streams))
        await asyncio.sleep(3)
        cores, frames = [], 0
        for turn in range(2 * rounds + 1):
            watched = turn % 2 == 1
            seen = asyncio.Event()
            reader = asyncio.create_task(read(session, url, seen)) if watched else None
            await asyncio.sleep(1)
            before, began_s = cpu_s(), asyncio.get_running_loop().time()
            await asyncio.sleep(seconds)
            cores.append((cpu_s() - before) / (asyncio.get_running_loop().time() - began_s))
            if reader is not None:
                seen.set()
                frames += await reader
        load.cancel()
    extra = [cores[i] - (cores[i - 1] + cores[i + 1]) / 2 for i in range(1, len(cores), 2)]
    return {
        "cores": cores,
        "extra_cores": extra,
        "extra_cores_mean": float(np.mean(extra)),
        "frames_per_s": frames / (rounds * (seconds + 1)),
        "unwatched_drift_cores": cores[-1] - cores[0],
    }


async def read(session: aiohttp.ClientSession, url: str, enough: asyncio.Event) -> int:
    """Frames until it is enough."""
    frames = 0
    async with session.get(f"{url}/dashboard/events", timeout=aiohttp.ClientTimeout(total=None)) as answer:
        async for line in answer.content:
            frames += line.startswith(b"event: frame")
            if enough.is_set():
                break
    return frames


def main() -> int:
    """Exit code 1 when the page costs more than its goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/page_cost/result.json"))
    options = parser.parse_args()
    with cluster(application("adaspec", "/", options.replicas)) as url:
        found = asyncio.run(measure(url, options.rounds, options.seconds, options.streams))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps({"provenance": provenance(vars(options)), "goal": GOAL, **found}, indent=1) + "\n"
    )
    print(f"{100 * found['extra_cores_mean']:.2f} % of a core at {found['frames_per_s']:.1f} frames/s")
    return 0 if found["extra_cores_mean"] <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
