"""A real engine behind the whole graph whose policy is swapped by reloads while it is asked, and what it counts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.cluster.service import Service, config, eventually

OFF: dict[str, Any] = {"name": "off"}
POLICIES: list[dict[str, Any]] = [
    {"name": "slo_goodput"},
    {"name": "fixed", "params": {"k": 3}},
    {"name": "tests.engine.planted:Ragged"},
    {"name": "nosuch"},  # refused: the one before it goes on
    {"name": "confidence", "params": {"threshold": 0.4}},
    OFF,
    {"name": "tests.engine.planted:PayingAdaSpec"},
    {"name": "fixed", "params": {"k": 5}},
]
EVERY_S = 0.5
WITHIN_S = 600  # a busy machine is no fault
ROOT = Path(__file__).parents[2]
ENGINE = {
    "kind": "vllm",
    "model": str(ROOT / "models" / "target"),
    "draft": str(ROOT / "models" / "draft"),
    "served_model_name": "demo",
    "dtype": "float32",
    "max_model_len": 512,
    "max_num_seqs": 24,
    "kv_cache_gib": 0.25,
    "calibrate_s": 1,
    "max_num_batched_tokens": 192,  # prompts are longer: prefill in chunks, mixed with decoding
    "vllm_args": {"num_gpu_blocks_override": 40, "block_size": 32},  # less than 24 requests grow to: preemption
}
SEEN = ("preemptions", "prefix_hit_tokens", "prompt_chunks", "accepted_tokens", "catch_up_tokens")


async def deployed(service: Service, **engine: Any) -> None:
    """Returns once it serves plainly: the demo pair, or another one."""
    wanted = config(ongoing=40)
    wanted["applications"][0]["args"] = {"engine": ENGINE | engine}
    wanted["applications"][0]["deployments"][-1]["user_config"] = {"policy": OFF}
    await asyncio.to_thread(service.deploy, wanted)
    await asyncio.to_thread(service.ready)


@asynccontextmanager
async def swapping(service: Service) -> AsyncIterator[None]:
    """Reloads while the block runs; plain decoding afterwards."""

    async def forever() -> None:
        for policy in itertools.cycle(POLICIES):
            await asyncio.to_thread(service.reload, policy=policy)
            await asyncio.sleep(EVERY_S)

    task = asyncio.create_task(forever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await set_policy(service, OFF)


async def set_policy(service: Service, policy: dict[str, Any]) -> None:
    """Returns once it serves."""
    await asyncio.to_thread(service.reload, policy=policy)
    await asyncio.to_thread(eventually, lambda: _live(service) == policy["name"], WITHIN_S)


async def counted(service: Service, since: dict[str, float] | None = None) -> dict[str, float]:
    """Counters of the engine and of reloads."""
    now = await asyncio.to_thread(_counters, service)
    return {name: value - (since or {}).get(name, 0.0) for name, value in now.items()}


def _live(service: Service) -> str:
    """The policy that serves; "" while the load monitor has not heard."""
    found = service.policies()
    return str(found[0]["policy"]["name"]) if found else ""


def _counters(service: Service) -> dict[str, float]:
    report = eventually(service.replicas)[0]["report"]
    reloads = {f"reloads {o}": service.total("adaspec_reloads_total", outcome=o) for o in ("applied", "rejected")}
    return {name: float(report[name]) for name in SEEN} | reloads
