"""Metrics of every replica, on request.

A replica at `max_ongoing_requests` takes no further call, so it is not asked: the answer to its next report asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class Scrape:
    """Lives in the load monitor's event loop."""

    def __init__(self) -> None:
        self._wanted: dict[str, asyncio.Future[str]] = {}

    async def collect(self, replicas: Iterable[str], timeout_s: float) -> dict[str, str]:
        """The texts delivered in time, by replica."""
        loop = asyncio.get_running_loop()
        waiting = {name: self._wanted.setdefault(name, loop.create_future()) for name in replicas}
        if waiting:
            await asyncio.wait(waiting.values(), timeout=timeout_s)
        return {name: text.result() for name, text in waiting.items() if text.done()}

    def wanted(self, replica: str) -> bool:
        """Whether somebody waits for this replica's metrics."""
        return replica in self._wanted

    def deliver(self, replica: str, text: str) -> None:
        """Answers everybody who waits for this replica."""
        waiting = self._wanted.pop(replica, None)
        if waiting is not None:
            waiting.set_result(text)
