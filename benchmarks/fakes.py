"""A cluster of fake engines on this machine, for figures about the service around them."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import ray
from ray import serve
from ray.serve.schema import ServeDeploySchema

from benchmarks import servers
from deployments.environment import missing

STEPS = {"kind": "fake", "step_ms": 20, "step_token_ms": 0.3, "draft_ms": 1, "ttft_ms": 5, "max_num_seqs": 16}
TOKENS = 40
BODY = {"prompt": "some words of a prompt", "max_tokens": TOKENS, "stream": True}


def application(name: str, prefix: str, replicas: int, **args: Any) -> dict[str, Any]:
    """One application of fake engines under slo_goodput, as serve_config.yaml would have it."""
    policy = {"name": "slo_goodput", "params": {}}
    small = {"num_replicas": 1, "max_ongoing_requests": 1000, "ray_actor_options": {"num_cpus": 0}}
    engine = {**STEPS, "safe_policy": policy}
    return {
        "name": name,
        "route_prefix": prefix,
        "import_path": "deployments.app:build",
        "args": {"engine": engine, **args},
        "deployments": [
            {"name": "Ingress", **small, "user_config": {"trace_sample_ratio": 1.0}},
            {"name": "LoadMonitor", **small},
            {"name": "Replica", **small, "num_replicas": replicas, "user_config": {"policy": policy}},
        ],
    }


@contextmanager
def serving() -> Iterator[int]:
    """A Ray of this process's own with Serve in it, as in production; yields the port."""
    os.environ.update(missing(os.environ))  # Ray's processes inherit it
    port = servers.free_port()
    ray.init(num_cpus=2, object_store_memory=128 << 20, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port, "request_timeout_s": 3600})
        yield port
    finally:
        serve.shutdown()
        ray.shutdown()


@contextmanager
def cluster(*applications: dict[str, Any]) -> Iterator[str]:
    """Serves them; yields the address."""
    with serving() as port:
        config = ServeDeploySchema.model_validate({"applications": list(applications)})
        serve.context._get_global_client().deploy_apps(config, _blocking=True)  # noqa: SLF001 - what `serve deploy` does
        yield f"http://127.0.0.1:{port}"


def cpu_s() -> float:
    """CPU seconds so far of everything this process started that is still there."""
    return sum(servers.cpu_s(pid) for pid in servers.tree(os.getpid())[1:])


async def tpots_s(session: aiohttp.ClientSession, url: str, seconds: float, streams: int) -> list[float]:
    """Mean time between tokens of every request finished in that time, with so many streams all the time."""
    loop = asyncio.get_running_loop()
    until_s, found = loop.time() + seconds, []

    async def stream(offset_s: float) -> None:
        await asyncio.sleep(offset_s)
        while loop.time() < until_s:
            found.append(await _tpot_s(session, url))

    await asyncio.gather(*(stream(random.random() * 0.3) for _ in range(streams)))  # noqa: S311 - no secret
    return found


async def _tpot_s(session: aiohttp.ClientSession, url: str) -> float:
    loop = asyncio.get_running_loop()
    async with session.post(f"{url}/v1/completions", json=BODY) as answer:
        answer.raise_for_status()
        times = [loop.time() async for line in answer.content if line.startswith(b'data: {"')]
    return (times[-1] - times[0]) / (TOKENS - 1)
