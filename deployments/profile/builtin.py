"""The calibration of a replica that has no profile: a few seconds of steps, from which the online models learn."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from vllm import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from deployments.settings import VllmEngine

STEPS = 6  # of each shape
PROMPT_TOKENS = 32
Rpc = Callable[..., Awaitable[dict[str, Any]]]


async def calibrate(llm: AsyncLLM, rpc: Rpc, engine: VllmEngine) -> int:
    """Shapes decoded within `engine.calibrate_s`, and their step times learned. The safe policy serves afterwards.

    What was accepted of this made-up text is forgotten again.
    """
    before = await rpc("policy_snapshot")
    ends_at, names, done = time.monotonic() + engine.calibrate_s, itertools.count(), 0
    for batch, k in shapes(engine):
        if time.monotonic() >= ends_at:
            break
        await rpc("set_policy", "fixed", {"k": k})
        await asyncio.gather(*(_decode(llm, f"calibration-{next(names)}", k) for _ in range(batch)))
        done += 1
    await rpc("set_policy", engine.safe_policy.name, dict(engine.safe_policy.params))
    learned = await rpc("policy_snapshot")
    await rpc("policy_restore", {**before, "cost": learned["cost"]})
    return done


def shapes(engine: VllmEngine) -> list[tuple[int, int]]:
    """(batch, K), the most telling first: the corners, then what lies between."""
    most = engine.max_num_seqs
    batches = list(dict.fromkeys(min(size, most) for size in (1, 8, 4, 16)))
    return [(batch, k) for batch in batches for k in dict.fromkeys((0, engine.k_max, 1))]


async def _decode(llm: AsyncLLM, name: str, k: int) -> None:
    tokens = STEPS * (k + 1)
    params = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)
    prompt = {"prompt_token_ids": list(range(3, 3 + PROMPT_TOKENS))}
    async for _ in llm.generate(prompt, params, name):
        pass
