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


class Ledger:
    """Times are the door's own clock; a report's time is when it was made, on that clock."""

    def __init__(self) -> None:
        self._running: dict[str, Counter[str]] = {}
        self._open: dict[str, set[int]] = {}  # ids of what is in flight there: two requests may be equal
        self._since: dict[str, deque[tuple[float, int, float]]] = {}

    def sent(self, sent: Sent, at_s: float) -> None:
        self._running.setdefault(sent.replica, Counter())[sent.of] += sent.seats
        self._open.setdefault(sent.replica, set()).add(id(sent))
        self._since.setdefault(sent.replica, deque()).append((at_s, sent.seats, sent.tokens))

    def done(self, sent: Sent, at_s: float) -> None:
        """What was forgotten since, with its replica, is in flight no more."""
        if id(sent) in self._open.get(sent.replica, ()):
            self._open[sent.replica].remove(id(sent))
            self._running[sent.replica][sent.of] -= sent.seats
            self._since[sent.replica].append((at_s, -sent.seats, 0.0))

    def reported(self, replica: str, at_s: float) -> None:
        """A report holds everything up to `at_s`."""
        since = self._since.get(replica, deque())
        while since and since[0][0] <= at_s:
            since.popleft()

    def running(self, replica: str, of: str) -> int:
        return self._running[replica][of] if replica in self._running else 0

    def unreported(self, replica: str, reported: float) -> tuple[float, float]:
        """(requests, prompt tokens) to add to a report that has `reported` requests.

        Never fewer requests than this door itself has there: what it sent and has not had back is certain, and a
        report made while a request was on its way does not hold it.
        """
        since = self._since.get(replica, ())
        more = sum(seats for _, seats, _ in since)
        own = self._running[replica].total() if replica in self._running else 0
        return max(more, own - reported), sum(tokens for _, _, tokens in since)

    def forget(self, replica: str) -> None:
        """It is lost: what it had comes back as errors."""
        self._running.pop(replica, None)
        self._open.pop(replica, None)
        self._since.pop(replica, None)
