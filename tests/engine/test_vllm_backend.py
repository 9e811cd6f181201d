"""The part of the backend that real engines rarely show: one that dies while it is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from vllm.v1.engine.exceptions import EngineDeadError

from deployments.backend import EngineFailed
from deployments.settings import VllmEngine
from deployments.vllm_backend import VllmBackend
from policies.registry import PolicySpec


class Dying:
    """As AsyncLLM is when its engine dies: who waits for an answer waits for ever, who asks for its health is told."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def collective_rpc(self, method: str, args: tuple[Any, ...]) -> list[dict[str, Any]]:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError(f"{method}{args} was answered")

    async def check_health(self) -> None:
        if self.asked.is_set():
            raise EngineDeadError


async def test_a_reload_that_an_engine_dies_over_fails() -> None:
    backend = VllmBackend(VllmEngine(kind="vllm", model="target", draft="draft"))
    backend._llm = Dying()  # a double of the two methods that are called
    with pytest.raises(EngineFailed):
        await asyncio.wait_for(backend.set_policy(PolicySpec(name="off")), timeout=30)
