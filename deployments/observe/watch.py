"""One look at the fleet for all who watch, four times a second; none at all while nobody does."""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from deployments.cancelled import cancelled
from deployments.errors import ApiError
from deployments.observe.frames import frame, reload_of
from deployments.status import FleetStatus, ReplicaStatus
from policies.exchange import ReplicaReport

EVERY_S = 0.25
WINDOW = 8  # reports over which rates are taken: two seconds
RECENT_S = 10.0  # TTFT, TPOT and attainment are of the requests finished in so long
PAST_S = 1.0  # between the frames kept ...
KEPT = 300  # ... of which so many are what a page that opens or reconnects is shown first
RELOADS = 50
BEHIND = 8  # frames a slow reader may lag; older ones are dropped

Around = Callable[[], dict[str, Any]]
"""What the door knows: `classes`, `counts`, `recent`, `waiting` for `frame`."""


class Watch:
    """Lives in the ingress's event loop."""

    def __init__(self, fleet: Callable[[], Awaitable[FleetStatus]], around: Around) -> None:
        self._fleet, self._around = fleet, around
        self._readers: set[asyncio.Queue[bytes]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._frames: deque[bytes] = deque(maxlen=KEPT)
        self._kept_at_s = 0.0
        self._reloads: deque[dict[str, Any]] = deque(maxlen=RELOADS)
        self._before: dict[str, deque[ReplicaReport]] = {}
        self._known: dict[str, ReplicaStatus] = {}

    @property
    def readers(self) -> int:
        return len(self._readers)

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events: the past first, then every frame. Closing it ends the looking with the last reader."""
        mine: asyncio.Queue[bytes] = asyncio.Queue(BEHIND)
        self._readers.add(mine)
        try:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look(), context=contextvars.Context())
            yield b"retry: 1000\n\n" + _event("past", b"[" + b",".join(self._frames) + b"]")
            yield _event("reloads", json.dumps(list(self._reloads)).encode())
            while True:
                yield await mine.get()
        finally:
            self._readers.discard(mine)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while self._readers and not cancelled():
            await self._once()
            due_s = max(due_s + EVERY_S, loop.time())
            await asyncio.sleep(due_s - loop.time())
        self._forget()

    async def _once(self) -> None:
        try:
            view = await self._fleet()
        except ApiError as error:  # the monitor restarts: the page says so and waits
            self._tell(_event("away", json.dumps(error.message).encode()))
            return
        self._note_reloads(view)
        before = {name: reports[0] for name, reports in self._before.items()}
        shown = frame(view, before, **self._around())
        self._tell(_event("frame", _json(shown)))
        self._keep(shown)
        for seen in view.replicas:
            self._remember(seen.status.replica, seen.status.report)
        gone = self._before.keys() - {seen.status.replica for seen in view.replicas}
        for name in gone:
            del self._before[name]

    def _keep(self, shown: dict[str, Any]) -> None:
        """For the past: now and then, and without what is only of the moment."""
        if shown["t"] - self._kept_at_s >= PAST_S:
            self._kept_at_s = shown["t"]
            self._frames.append(_json({**shown, "replicas": [{**r, "what_if": None} for r in shown["replicas"]]}))

    def _remember(self, name: str, report: ReplicaReport) -> None:
        reports = self._before.setdefault(name, deque(maxlen=WINDOW))
        if not reports or reports[-1].at_s != report.at_s:
            reports.append(report)

    def _note_reloads(self, view: FleetStatus) -> None:
        new = []
        for seen in view.replicas:
            found = reload_of(seen.status, self._known.get(seen.status.replica))
            new += [] if found is None else [found]
        self._known = {seen.status.replica: seen.status for seen in view.replicas}
        if new:
            self._reloads.extend(new)
            self._tell(_event("reloads", json.dumps(list(self._reloads)).encode()))

    def _tell(self, event: bytes) -> None:
        for reader in self._readers:
            if reader.full():
                reader.get_nowait()
            reader.put_nowait(event)

    def _forget(self) -> None:
        """Nobody watches: nothing is kept."""
        self._frames.clear()
        self._before.clear()


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _event(name: str, data: bytes) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
