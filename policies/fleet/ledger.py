"""What one door has sent to each replica: in flight now, and since the replica's last report."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sent:
    """One request on its way or being answered. It takes a seat for each sequence."""

    replica: str
    of: str  # its class
    seats: int
    tokens: float
    at_s: float = 0.0
    ttft_s: float | None = None  # predicted


@dataclass(slots=True)
class Event:
    """Seats taken or given back, and prompt tokens sent."""

    at_s: float
    seats: int
    tokens: float


class Since:
    """What happened since a report, with its sums: a monitor may be away for long, and every decision asks."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self.seats, self.tokens = 0, 0.0

    def add(self, event: Event) -> None:
        self._events.append(event)
        self.seats, self.tokens = self.seats + event.seats, self.tokens + event.tokens

    def prefilled(self, event: Event) -> None:
        """Its tokens are no work ahead; a no-op for what a report held already."""
        self.tokens, event.tokens = self.tokens - event.tokens, 0.0

    def reported(self, at_s: float) -> None:
        while self._events and self._events[0].at_s <= at_s:
            event = self._events.popleft()
            self.seats -= event.seats
            self.prefilled(event)
        if not self._events:
            self.seats, self.tokens = 0, 0.0  # without what rounding left


class Ledger:
    """Times are the door's own clock; a report's time is when it was made, on that clock."""

    def __init__(self) -> None:
        self._running: dict[str, Counter[str]] = {}
        self._open: dict[str, dict[int, Event]] = {}  # in flight there, by id: two requests may be equal
        self._since: dict[str, Since] = {}

    def sent(self, sent: Sent, at_s: float) -> None:
        self._running.setdefault(sent.replica, Counter())[sent.of] += sent.seats
        event = self._open.setdefault(sent.replica, {})[id(sent)] = Event(at_s, sent.seats, sent.tokens)
        self._since.setdefault(sent.replica, Since()).add(event)

    def done(self, sent: Sent, at_s: float) -> None:
        """What was forgotten since, with its replica, is in flight no more. An answered prompt is no work ahead."""
        event = self._open.get(sent.replica, {}).pop(id(sent), None)
        if event is not None:
            self._running[sent.replica][sent.of] -= sent.seats
            self._since[sent.replica].prefilled(event)
            self._since[sent.replica].add(Event(at_s, -sent.seats, 0.0))

    def reported(self, replica: str, at_s: float) -> None:
        """A report holds everything up to `at_s`."""
        if replica in self._since:
            self._since[replica].reported(at_s)

    def running(self, replica: str, of: str) -> int:
        return self._running[replica][of] if replica in self._running else 0

    def unreported(self, replica: str, reported: float) -> tuple[float, float]:
        """(requests, prompt tokens) to add to a report that has `reported` requests.

        Never fewer requests than this door itself has there: what it sent and has not had back is certain, and a
        report made while a request was on its way does not hold it.
        """
        since = self._since.get(replica, Since())
        own = self._running[replica].total() if replica in self._running else 0
        return max(since.seats, own - reported), since.tokens

    def forget(self, replica: str) -> None:
        """It is lost: what it had comes back as errors."""
        self._running.pop(replica, None)
        self._open.pop(replica, None)
        self._since.pop(replica, None)
