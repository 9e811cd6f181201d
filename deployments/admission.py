"""The door: decides about every request before any work, and holds in deadline order those that have to wait.

One queue in one place: the engines' own queues stay near empty. The decisions are `policies.fleet`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from deployments.door_metrics import DoorMetrics
from deployments.errors import ApiError
from deployments.live import Live
from deployments.settings import IngressConfig, SloClass
from deployments.slo import request_view
from policies.fleet.admit import Admission, admit
from policies.fleet.ledger import Ledger, Sent
from policies.fleet.line import Line, Waiting
from policies.fleet.margin import Margin
from policies.fleet.prefix import Prefixes
from policies.fleet.route import Route, route
from policies.fleet.seats import open_seats
from policies.fleet.track import ReplicaFigures, as_of_now, fleet_view
from policies.fleet.views import FleetView, RequestView

DOUBT_S = 2.0  # a replica that was lost, or that Serve does not route to any more, is left out for as long
UNKNOWN, SILENT = 2, 10  # times `stale_after_s`: how long a replica is kept that the monitor does not know, or hear


@dataclass(frozen=True, slots=True)
class Asked:
    """One request at the door."""

    slo: SloClass
    prompt: str
    tokens: float  # of the prompt, estimated
    seats: int  # sequences
    stream: bool = True


Place = tuple[Asked, asyncio.Future[Sent]]


class Door:
    """Lives in the ingress's event loop. Every method but `enter` returns at once."""

    def __init__(self, live: Live[IngressConfig], metrics: DoorMetrics) -> None:
        self._live, self._metrics = live, metrics
        self._line: Line[Place] = Line()
        self._ledger, self._prefixes = Ledger(), Prefixes()
        self._replicas: dict[str, tuple[ReplicaFigures, float]] = {}
        self._doubted: dict[str, float] = {}
        self._unknown: dict[str, float] = {}  # to the monitor, since when
        self._margin = Margin()
        self._look()

    async def enter(self, asked: Asked) -> Sent:
        """Waits for its turn.

        Raises:
            ApiError: 429 where it must not wait or waited in vain; 503 without a replica. Both say when to come back.
        """
        began_s, now_s = time.perf_counter(), _now_s()
        of, request = asked.slo.name, self._request(asked)
        self._metrics.arrived(of, asked.tokens)
        turn: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        waiting = Waiting(request, of, now_s, (asked, turn))
        before = self._line.before(request.priority)
        self._line.add(waiting)
        held = self.serve()
        if not turn.done():
            self._hold_or_shed(waiting, held.get(waiting) or self._decide(waiting, before, now_s))
        self._metrics.decided(time.perf_counter() - began_s)
        return await self._turn(waiting, turn)

    def again(self, asked: Asked, lost: Sent) -> Sent:
        """Its replica was lost before the first token: another one, before all that wait."""
        self._leave_out(lost.replica)
        if not self._replicas:
            raise self._unready()
        view = self._view(asked.slo.name, _now_s())
        chosen = route(view, request_view(asked.slo, asked.tokens), self._live.now.door.routing)
        return self._send(asked, chosen)

    def arrived(self, sent: Sent, replica: str, *, streamed: bool) -> Sent:
        """Its first part is there. From another replica than wanted: Serve does not route to that one now.

        It stops, or it takes a new config and is back in a moment: the only one known is kept.
        """
        if replica == sent.replica or not replica:
            if streamed and sent.ttft_s is not None:
                self._margin = self._margin.seen(sent.ttft_s, _now_s() - sent.at_s)
            return sent
        moved = replace(sent, replica=replica)
        self._doubted.pop(replica, None)
        if len(self._replicas) > 1:
            self._leave_out(sent.replica)
        self._ledger.done(sent, _now_s())
        self._ledger.sent(moved, _now_s())
        return moved

    def leave(self, sent: Sent) -> None:
        """Its seat is free."""
        self._ledger.done(sent, _now_s())
        self.serve()

    def told(self, figures: Sequence[ReplicaFigures]) -> None:
        """The monitor's newest figures. A replica it does not know (it may have restarted) is kept for a while."""
        now_s = _now_s()
        self._doubted = {name: until_s for name, until_s in self._doubted.items() if until_s > now_s}
        for f in figures:
            if f.replica not in self._doubted:
                self._replicas[f.replica] = f, now_s
                self._ledger.reported(f.replica, now_s - f.age_s)
        for name in self._gone(figures, now_s):
            self._forget(name)
        self._look()
        self.serve()

    def unheard(self) -> None:
        """The monitor does not answer, which says nothing of any replica: all stay, those that wait are served."""
        self._unknown = {}
        self.serve()

    def _gone(self, figures: Sequence[ReplicaFigures], now_s: float) -> list[str]:
        """Replicas silent to the monitor for long, or unknown to it for a while, counted from when it said so.

        A monitor that was away for a minute and is back with nothing yet has not lost a replica. One on a starved
        machine reports late and still serves; a dead one is noticed by the first call to it.
        """
        stale_s = self._live.now.door.routing.stale_after_s
        known = {f.replica for f in figures}
        self._unknown = {name: self._unknown.get(name, now_s) for name in self._replicas if name not in known}
        left = [name for name, since_s in self._unknown.items() if now_s - since_s > UNKNOWN * stale_s]
        return left + [f.replica for f in figures if f.replica in self._replicas and f.age_s > SILENT * stale_s]

    def serve(self) -> dict[Waiting[Place], Admission]:
        """Everybody whose turn it is; returns those at the head of a line who stay in it, and why.

        A class that lacks a seat holds up nobody else's; one that waits for its objective's sake does: what came in
        behind it would make it wait longer.
        """
        now_s, without_seat = _now_s(), frozenset[str]()
        held: dict[Waiting[Place], Admission] = {}
        while heads := self._line.heads(now_s, without_seat):
            first = heads[0]
            if first.late and first.request.overload == "shed":
                self._refuse(first, "late", 1)
                continue
            decision = self._decide(first, self._line.before(first.request.priority) - 1, now_s)
            if decision.route is not None:
                self._admit(first, decision.route, decision.reason)
            elif decision.reason == "no_replica":
                self._refuse(first, decision.reason, None)
            else:
                held[first] = decision
                if decision.reason != "seats":
                    break
                without_seat |= {first.of}
        return held

    def staffed(self) -> bool:
        """Whether it knows of a replica."""
        return bool(self._replicas)

    def waiting(self) -> dict[str, int]:
        """Held now, by class."""
        return self._line.lengths()

    def running(self, of: str) -> int:
        """At replicas now."""
        return sum(self._ledger.running(name, of) for name in self._replicas)

    def _decide(self, waiting: Waiting[Place], queued: int, now_s: float) -> Admission:
        view = self._view(waiting.of, now_s)
        request = self._with_prefix(waiting.now(now_s), waiting.what[0].prompt)
        return admit(view, request, queued, self._live.now.door)

    def _hold_or_shed(self, waiting: Waiting[Place], decision: Admission) -> None:
        if decision.action == "shed":
            self._refuse(waiting, decision.reason, decision.retry_after_s)

    async def _turn(self, waiting: Waiting[Place], turn: asyncio.Future[Sent]) -> Sent:
        try:
            async with asyncio.timeout(self._live.now.first_token_timeout_s):
                return await self._unless_it_leaves(turn)
        except TimeoutError as error:
            self._metrics.shed(waiting.of, "timeout")
            raise ApiError(429, "no replica had room in time", retry_after_s=self._live.now.retry_after_s) from error
        finally:
            waiting.gone = True

    async def _unless_it_leaves(self, turn: asyncio.Future[Sent]) -> Sent:
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(turn.result())  # admitted in the moment it left
            raise

    def _view(self, of: str, now_s: float) -> FleetView:
        """The fleet as class `of` meets it."""
        config, names = self._live.now, self._names
        view = as_of_now(self._reported, names, self._ledger, now_s - self._reported_at_s)
        classes = [c.name for c in config.classes]
        reserved = np.array([c.reserved_slots for c in config.classes], np.float64)
        if not names or not reserved.any() or of not in classes:
            return view
        running = np.array([[self._ledger.running(name, other) for other in classes] for name in names], np.float64)
        seats = open_seats(view.seats, reserved, running, classes.index(of))
        return replace(view, seats=seats)

    def _look(self) -> None:
        """The replicas as arrays, kept until they change."""
        self._names = list(self._replicas)
        self._reported = fleet_view([f for f, _ in self._replicas.values()])
        self._reported_at_s = np.array([at_s for _, at_s in self._replicas.values()], np.float64)

    def _with_prefix(self, request: RequestView, prompt: str) -> RequestView:
        cached = self._prefixes.cached(prompt)
        if not cached:
            return request
        tokens = np.array([cached.get(name, 0) for name in self._names]) / self._live.now.characters_per_token
        return replace(request, prefix_tokens=np.minimum(tokens, request.prompt_tokens))

    def _request(self, asked: Asked) -> RequestView:
        """Its TTFT less what first tokens come later than predicted."""
        request = request_view(asked.slo, asked.tokens)
        return replace(request, ttft_slo_s=request.ttft_slo_s - self._margin.of(request.ttft_slo_s))

    def _admit(self, waiting: Waiting[Place], route: Route, reason: str) -> None:
        waiting.gone = True
        asked, turn = waiting.what
        if turn.done():
            return  # its client left in this moment
        self._metrics.admitted(waiting.of, reason, _now_s() - waiting.arrived_s)
        turn.set_result(self._send(asked, route))

    def _send(self, asked: Asked, route: Route) -> Sent:
        replica, ttft_s = self._names[route.index], float(route.prediction.ttft_s[route.index])
        sent = Sent(replica, asked.slo.name, asked.seats, asked.tokens, _now_s(), ttft_s)
        self._ledger.sent(sent, sent.at_s)
        self._prefixes.sent(asked.prompt, replica)
        return sent

    def _refuse(self, waiting: Waiting[Place], reason: str, retry_s: int | None) -> None:
        waiting.gone = True
        if waiting.what[1].done():
            return
        self._metrics.shed(waiting.of, reason)
        error = self._unready() if retry_s is None else _too_busy(waiting.of, reason, retry_s)
        waiting.what[1].set_exception(error)

    def _unready(self) -> ApiError:
        return ApiError(503, "no replica is ready to serve", retry_after_s=self._live.now.retry_after_s)

    def _leave_out(self, replica: str) -> None:
        self._doubted[replica] = _now_s() + DOUBT_S
        self._forget(replica)

    def _forget(self, replica: str) -> None:
        self._replicas.pop(replica, None)
        self._look()
        self._ledger.forget(replica)
        self._prefixes.forget(replica)


def _too_busy(of: str, reason: str, retry_s: int) -> ApiError:
    text = f"class {of!r}: its objectives cannot be kept now ({reason}); try again in {retry_s} s"
    return ApiError(429, text, retry_after_s=retry_s)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
