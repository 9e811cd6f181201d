"""The queue at the door: who is next, and who can no longer make it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from policies.fleet.admit import deadline_s
from policies.fleet.views import RequestView

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Waiting(Generic[T]):
    """One request in line."""

    request: RequestView  # objectives as they were on arrival
    of: str  # its class
    arrived_s: float
    what: T
    late: bool = False  # past its TTFT, or no replica could ever make it: after all that still can
    gone: bool = False

    @property
    def due_s(self) -> float:
        return deadline_s(self.arrived_s, self.request)[1]

    def now(self, now_s: float) -> RequestView:
        """The request with what is left of its TTFT. Late, it only asks for its TPOT."""
        return replace(self.request, ttft_slo_s=float("inf") if self.late else self.due_s - now_s)


Entry = tuple[int, bool, float, int, Waiting[T]]


class Line(Generic[T]):
    """By priority, then the earliest deadline; the late ones last: serving them first would make all of them late."""

    def __init__(self) -> None:
        self._classes: dict[str, list[Entry[T]]] = {}
        self._numbers = itertools.count()

    def add(self, waiting: Waiting[T]) -> None:
        self._push(self._classes.setdefault(waiting.of, []), waiting)

    def heads(self, now_s: float, skip: frozenset[str] = frozenset()) -> list[Waiting[T]]:
        """The first of each class, the most urgent first. Marks those that have become late."""
        firsts = [entry for of in self._classes if of not in skip for entry in self._first(of, now_s)]
        return [entry[-1] for entry in sorted(firsts, key=lambda e: e[:-1])]

    def before(self, priority: int) -> int:
        """How many wait with this priority or a higher one."""
        return sum(not e[-1].gone and -e[0] >= priority for line in self._classes.values() for e in line)

    def lengths(self) -> dict[str, int]:
        """How many wait, by class."""
        return {of: sum(not e[-1].gone for e in line) for of, line in self._classes.items()}

    def all(self) -> list[Waiting[T]]:
        return [e[-1] for line in self._classes.values() for e in line if not e[-1].gone]

    def _first(self, of: str, now_s: float) -> Iterator[Entry[T]]:
        line = self._classes[of]
        while line:
            waiting = line[0][-1]
            if waiting.gone:
                heapq.heappop(line)
            elif not waiting.late and waiting.due_s <= now_s:
                heapq.heappop(line)
                waiting.late = True
                self._push(line, waiting)
            else:
                yield line[0]
                return

    def _push(self, line: list[Entry[T]], waiting: Waiting[T]) -> None:
        entry = (-waiting.request.priority, waiting.late, waiting.due_s, next(self._numbers), waiting)
        heapq.heappush(line, entry)
