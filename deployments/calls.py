"""An HTTP request on its way through the graph, and an ASGI application called in process with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """Headers as ASGI has them: lower-case names, bytes."""

    method: str
    path: str
    headers: Headers = ()
    body: bytes = b""
    replica: str = ""  # where the door wants it; the router has the last word

    def scope(self) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": list(self.headers),
            "client": None,
            "server": None,
        }


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers together with the first part of the body: nothing is promised before there is something."""

    status: int
    headers: Headers
    body: bytes
    last: bool  # the body is complete
    replica: str = ""  # that answered


async def answer(app: ASGIApp, call: Call) -> AsyncGenerator[Head | bytes, None]:
    """Call `app`: a Head first, then each further part of the body as it is sent. Closing the iterator cancels."""
    sent: asyncio.Queue[MutableMapping[str, Any] | None] = asyncio.Queue()
    task = asyncio.create_task(_run(app, call, sent))
    try:
        start = await _next(sent, task)
        first = await _next(sent, task)
        more = first.get("more_body", False)
        yield Head(start["status"], tuple(start.get("headers", ())), first.get("body", b""), last=not more)
        while more:
            part = await _next(sent, task)
            more = part.get("more_body", False)
            if part.get("body"):
                yield part["body"]
        await task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def whole(app: ASGIApp, call: Call) -> tuple[int, bytes]:
    """Call `app` and collect its answer: status and body."""
    status, body = 0, bytearray()
    async for part in answer(app, call):
        if isinstance(part, Head):
            status = part.status
            body += part.body
        else:
            body += part
    return status, bytes(body)


async def _run(app: ASGIApp, call: Call, sent: asyncio.Queue[MutableMapping[str, Any] | None]) -> None:
    """Run `app` to its end. Its disconnect message never comes: an abandoned call is cancelled instead."""
    body: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": call.body, "more_body": False}]

    async def receive() -> MutableMapping[str, Any]:
        return body.pop() if body else await asyncio.get_running_loop().create_future()

    try:
        await app(call.scope(), receive, sent.put)
    finally:
        sent.put_nowait(None)


async def _next(
    sent: asyncio.Queue[MutableMapping[str, Any] | None], task: asyncio.Task[None]
) -> MutableMapping[str, Any]:
    message = await sent.get()
    if message is None:
        await task  # raises what the application raised
        raise RuntimeError("the application ended without completing its response")
    return message
