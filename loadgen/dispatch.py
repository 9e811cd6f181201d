"""Sends a plan's requests at their times, whatever the server does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import gevent
from gevent.pool import Group

from loadgen.client import Client
from loadgen.outcome import Outcome, unfinished
from loadgen.schedule import Planned


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds since the run's start, which may lie ahead."""

    start_s: float  # of time.perf_counter

    def __call__(self) -> float:
        return time.perf_counter() - self.start_s

    def wait_until(self, at_s: float) -> None:
        """Sleeps once more where the event loop woke early."""
        while (left_s := at_s - self()) > 0:
            gevent.sleep(left_s)


class Dispatcher:
    """One process's share of a run. Several greenlets may call `walk`: each request is sent once."""

    def __init__(
        self, requests: Sequence[Planned], client: Client, clock: Clock, record: Callable[[Outcome], None]
    ) -> None:
        self._left: Iterator[Planned] = iter(requests)
        self._client, self._clock, self._record = client, clock, record
        self._flying: dict[int, tuple[Planned, float, float]] = {}  # planned, and when it was sent
        self._group = Group()

    def walk(self) -> None:
        """The open loop: returns when the last request was started, not when it was answered."""
        for request in self._left:
            self._clock.wait_until(request.at_s)
            self._group.spawn(self._one, request, request.at_s)

    def loop(self, clients: int, think_s: float) -> None:
        """The closed loop: returns when every request was answered."""
        self._clock.wait_until(0.0)
        for _ in range(clients):
            self._group.spawn(self._client_loop, think_s)
        self._group.join()

    def join(self) -> None:
        """Until every request that was started has ended."""
        self._group.join()

    def stop(self) -> None:
        """Ends what is in flight; it is recorded as unfinished."""
        self._group.kill()
        for request, at_s, sent_s in list(self._flying.values()):
            self._record(unfinished(request, at_s, sent_s))
        self._flying.clear()

    def _client_loop(self, think_s: float) -> None:
        for request in self._left:
            self._one(request, self._clock())
            gevent.sleep(think_s)

    def _one(self, request: Planned, at_s: float) -> None:
        self._flying[request.id] = (request, at_s, self._clock())
        self._record(self._client.send(request, at_s, self._clock))
        del self._flying[request.id]
