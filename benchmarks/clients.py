"""Clients of a service that is being harmed, or runs for hours: what each request got, and how it ended."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

import aiohttp
import numpy as np

PATH = "/v1/completions"
RETRY = (429, 503)
PAUSE_S = 0.1  # after an answer that was none

Draw = tuple[dict[str, Any], int | None]
"""A body, and after how many parts of the answer its client leaves."""
Outcome = Literal["served", "refused", "error event", "closed", "left", "hung", "lost"]
"""refused: 429 or 503 with Retry-After. error event: a stream begun ended in exactly one, without [DONE]. closed: the
connection went, without [DONE]. left: the client did. hung: no end within the deadline. lost: anything else."""


@dataclass(slots=True, eq=False)
class Request:
    """One request as its client saw it. Times are the monotonic clock's, seconds."""

    sent_s: float
    body: dict[str, Any]
    status: int = 0
    retry_after_s: float | None = None
    first_s: float | None = None  # first part of the answer with a token
    ended_s: float | None = None
    text: str = ""
    tokens: int | None = None  # as the service counted them
    errors: int = 0
    done: bool = False
    left: bool = False
    hung: bool = False
    failure: str = ""

    @property
    def outcome(self) -> Outcome:
        if self.hung or self.left:
            return "hung" if self.hung else "left"
        if self.status in RETRY and self.retry_after_s is not None:
            return "refused"
        if self.status == 200 and not self.errors and self.done:
            return "served"
        if self.done or self.errors > 1 or self.status not in (0, 200):
            return "lost"
        return "error event" if self.errors else "closed"

    @property
    def answered_s(self) -> float | None:
        """When it knew: its first token, or its end."""
        return self.first_s or self.ended_s

    def heard(self, event: dict[str, Any]) -> None:
        """One part of a stream, or a whole answer."""
        self.errors += "error" in event
        if choices := event.get("choices"):
            self.first_s = self.first_s or time.monotonic()
            self.text += choices[0].get("text") or ""
        self.tokens = (event.get("usage") or {}).get("completion_tokens", self.tokens)


@dataclass
class Clients:
    """Sends requests and keeps them all: `ended` in the order of their ends, `open` under way."""

    session: aiohttp.ClientSession
    url: str
    deadline_s: float = 60
    ended: list[Request] = field(default_factory=list)
    open: set[Request] = field(default_factory=set)

    async def send(self, body: dict[str, Any], leave_after: int | None = None) -> Request:
        """Never raises for what the service does. `leave_after` so many parts of a stream the client goes away.

        Cancelled: it goes away now.
        """
        request = Request(time.monotonic(), body)
        self.open.add(request)
        try:
            async with asyncio.timeout(self.deadline_s):
                await self._ask(request, leave_after)
        except TimeoutError:
            request.hung = True
        except asyncio.CancelledError:
            request.left = True
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            request.failure = repr(error)
        finally:
            request.ended_s = time.monotonic()
            self.open.discard(request)
            self.ended.append(request)
        return request

    async def loop(self, bodies: Iterable[dict[str, Any]], until: asyncio.Event) -> None:
        """One client: the next request when the last has ended, after the pause the service asked for."""
        for body in bodies:
            if until.is_set():
                return
            request = await self.send(body)
            if request.outcome != "served":
                await asyncio.sleep(request.retry_after_s or PAUSE_S)

    @asynccontextmanager
    async def loops(self, clients: int, body: Callable[[int], dict[str, Any]]) -> AsyncIterator[None]:
        """So many of them while the block runs; then every request under way ends."""
        until, numbers = asyncio.Event(), count()
        bodies = (body(i) for i in numbers)
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self.loop(bodies, until))
            try:
                yield
            finally:
                until.set()

    def opening(self) -> list[Request]:
        """Under way, without a token so far."""
        return [request for request in self.open if request.first_s is None]

    def streaming(self) -> list[Request]:
        return [request for request in self.open if request.first_s is not None]

    async def _ask(self, request: Request, leave_after: int | None) -> None:
        async with self.session.post(self.url + PATH, json=request.body) as answer:
            request.status = answer.status
            after = answer.headers.get("retry-after")
            request.retry_after_s = None if after is None else float(after)
            if not request.body.get("stream") or answer.status != 200:
                request.heard(await answer.json())
                request.done = answer.status == 200
                return
            await self._listen(request, answer, leave_after)

    async def _listen(self, request: Request, answer: aiohttp.ClientResponse, leave_after: int | None) -> None:
        parts = 0
        async for line in answer.content:
            if leave_after is not None and parts >= leave_after:
                request.left = True
                answer.close()
                return
            if line.startswith(b"data: [DONE]"):
                request.done = True
            elif line.startswith(b"data: "):
                request.heard(json.loads(line.removeprefix(b"data: ")))
                parts += 1


@asynccontextmanager
async def clients(url: str, deadline_s: float = 60) -> AsyncIterator[Clients]:
    """Every request has a connection of its own: one that is kept could be the one the service just lost."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        yield Clients(session, url, deadline_s)


async def capacity_rps(load: Clients, draw: Callable[[], Draw], clients: int, seconds: float) -> float:
    """Requests served a second, with so many clients all the time. A third of it is left out: they begin in step."""
    async with load.loops(clients, lambda _: draw()[0]):
        await asyncio.sleep(seconds / 3)
        first, from_s = len(load.ended), time.monotonic()
        await asyncio.sleep(2 * seconds / 3)
        served = sum(request.outcome == "served" for request in load.ended[first:])
        return served / (time.monotonic() - from_s)


async def arrivals(load: Clients, draw: Callable[[], Draw], rng: np.random.Generator, rps: float, s: float) -> None:
    """Poisson arrivals for `s` seconds, each at its time whatever became of the others; returns when all have ended."""
    at_s = time.monotonic()
    until_s = at_s + s
    async with asyncio.TaskGroup() as group:
        while (at_s := at_s + rng.exponential(1 / rps)) < until_s:
            await asyncio.sleep(max(0.0, at_s - time.monotonic()))
            body, leaves = draw()
            group.create_task(load.send(body, leaves))
