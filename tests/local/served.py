"""The ingress's application on a real socket: an in-process transport cannot carry streams that do not end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn

from deployments.ingress import Ingress


@asynccontextmanager
async def served(ingress: Ingress, port: int) -> AsyncIterator[str]:
    """Its address while it is served."""
    app = ingress.__serve_build_asgi_app__()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def until(what: Callable[[], bool], within_s: float = 20) -> None:
    """Looks every 20 ms."""
    async with asyncio.timeout(within_s):
        while not what():  # noqa: ASYNC110 - another task's or program's state
            await asyncio.sleep(0.02)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
