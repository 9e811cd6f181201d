"""The whole service in one process without Ray: the real ingress, door, monitor and replicas over fake engines.

Serve's place is taken by the handles below: a call goes where the door decided, else to the emptier of two replicas.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

from deployments.calls import Call, Head
from deployments.ingress import Ingress
from deployments.load_monitor import LoadMonitor
from deployments.replica import Replica
from deployments.settings import AppArgs


class Method:
    """A method of a handle."""

    def __init__(self, does: Any) -> None:
        self.remote = does


class Handle:
    """Of the one object behind it."""

    def __init__(self, of: Any) -> None:
        self._of = of

    def __getattr__(self, name: str) -> Method:
        return Method(getattr(self._of, name))

    def options(self, method_name: str, **_: Any) -> Method:
        return Method(getattr(self._of, method_name))


class Parts:
    """A streamed answer under way."""

    def __init__(self, fleet: Fleet, call: Call) -> None:
        self._parts: asyncio.Queue[Head | bytes | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._pump(fleet, call))

    def __aiter__(self) -> AsyncIterator[Head | bytes]:
        return self

    async def __anext__(self) -> Head | bytes:
        part = await self._parts.get()
        if part is None:
            raise StopAsyncIteration
        return part

    def cancel(self) -> None:
        self._task.cancel()

    async def _pump(self, fleet: Fleet, call: Call) -> None:
        name = fleet.route(call)
        fleet.ongoing[name] += 1
        try:
            async for part in fleet.replicas[name].serve(call):
                self._parts.put_nowait(part)
        finally:
            fleet.ongoing[name] -= 1
            self._parts.put_nowait(None)


class Fleet:
    """Replicas come and go; `app` is what a client talks to."""

    def __init__(self, engine: Mapping[str, Any], ingress: Mapping[str, Any], monitor: Mapping[str, Any]) -> None:
        self.replicas: dict[str, Replica] = {}
        self.ongoing: dict[str, int] = {}
        self.routed: set[str] = set()
        self._engine, self._ingress, self._config = engine, ingress, monitor
        self._names, self._two = itertools.count(), random.Random(0)  # noqa: S311 - a load, not a secret

    async def start(self, replicas: int, **first: Any) -> None:
        """`first`: how the engine of the first replica differs."""
        self.monitor = LoadMonitor()
        await self.monitor.reconfigure(dict(self._config))
        await self.add(**first)
        for _ in range(replicas - 1):
            await self.add()
        self.ingress = Ingress(self, Handle(self.monitor))
        self.ingress.reconfigure(dict(self._ingress))
        self.app = self.ingress.__serve_build_asgi_app__()
        await asyncio.sleep(1)  # every replica has reported

    async def add(self, **engine: Any) -> None:
        """A replica more, at once."""
        name, made = f"r{next(self._names)}", Replica.__new__(Replica)
        args = AppArgs.model_validate({"engine": {"kind": "fake", **self._engine, **engine}})
        await made.__init__(args, Handle(self.monitor), name)  # type: ignore[misc]
        self.replicas[name], self.ongoing[name] = made, 0
        self.routed.add(name)

    async def drain(self) -> None:
        """The newest replica gets nothing more and ends when it has nothing left, as Serve does it."""
        name = max(self.routed, key=lambda n: int(n[1:]))
        self.routed.discard(name)
        while self.ongoing[name]:  # noqa: ASYNC110 - as Serve looks
            await asyncio.sleep(0.1)
        await self.replicas.pop(name).__del__()

    async def fallbacks(self) -> dict[str, int]:
        """What went wrong with the policy, over all replicas: nothing should have."""
        reports = [(await replica.status()).report.fallbacks for replica in self.replicas.values()]
        return dict(sum((Counter(fallbacks) for fallbacks in reports), Counter()))

    async def stop(self) -> None:
        """Every replica ends."""
        for replica in self.replicas.values():
            await replica.__del__()

    def route(self, call: Call) -> str:
        """What Serve's router does."""
        if call.replica in self.routed:
            return call.replica
        some = self._two.sample(sorted(self.routed), min(2, len(self.routed)))
        return min(some, key=self.ongoing.__getitem__)

    def options(self, **_: Any) -> Method:
        """The replicas' handle is the fleet itself: only `serve` is called."""
        return Method(lambda call: Parts(self, call))
