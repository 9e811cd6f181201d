"""An event loop whose clock jumps to the next timer: minutes of a fake fleet pass in seconds, the same each time.

What is computed takes no virtual time: only what sleeps does. Nothing may wait for another thread or a socket.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

from deployments import fake_backend, fake_steps, load_monitor, replica
from deployments.engine import host, watchdog
from deployments.observe import outcomes

T = TypeVar("T")
CLOCKED: tuple[ModuleType, ...] = (fake_backend, fake_steps, load_monitor, replica, host, watchdog, outcomes)
"""Modules of the service that read a clock besides the loop's."""


class Jump(selectors.DefaultSelector):
    """Waits for nothing: the time asked for is over at once."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everybody waits for something that will not come")
        self.now_s += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time` is the selector's."""

    def __init__(self) -> None:
        self._jump = Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now_s


class Clock:
    """Stands in for the module `time`; what it does not say, that module does."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.time = self.monotonic = self.perf_counter = loop.time
        self.thread_time = loop.time  # a busy machine must not make a policy look slow to the watchdog

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Like asyncio.run, in virtual time."""
    loop = VirtualLoop()
    with _clocked(loop), asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main)


@contextmanager
def _clocked(loop: VirtualLoop) -> Iterator[None]:
    before = [(module, vars(module)["time"]) for module in CLOCKED]
    try:
        for module in CLOCKED:
            vars(module)["time"] = Clock(loop)
        yield
    finally:
        for module, clock in before:
            vars(module)["time"] = clock
