"""The event loop: arrivals, replicas, the exchange and replicas that come and go."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np

from loadgen.sim.build import replica
from loadgen.sim.monitor import Monitor
from loadgen.sim.record import Record
from loadgen.sim.replica import Replica
from loadgen.sim.scenario import Scenario
from loadgen.sim.workload import Texts, Workload, draw
from policies.fleet.admit import Admission, admit, deadline_s
from policies.fleet.route import route
from policies.fleet.views import RequestView

REPLICA, EXCHANGE, START = range(3)
PROGRESS_EVERY = 4096  # events


class Simulation:
    """One scenario, run once."""

    def __init__(self, scenario: Scenario, work: Workload | None = None) -> None:
        """`work` lets several policies share the drawn requests (they are the same either way)."""
        self.scenario = scenario
        self.work = draw(scenario) if work is None else work
        self.record = Record(self.work, len(scenario.classes))
        texts, most = Texts(scenario, self.work), scenario.fleet.replicas
        if scenario.fleet.scaling:
            most = max(most, scenario.fleet.scaling.max_replicas)
        self.replicas: list[Replica] = [replica(scenario, self.work, self.record, texts, i) for i in range(most)]
        self.monitor = Monitor(scenario, self.work, self.record, self.replicas)
        self.active, self._starting = scenario.fleet.replicas, 0
        self.now = self.replica_s = 0.0
        self._door: list[tuple[tuple[int, float], int]] = []
        self._events: list[tuple[float, int, int, int]] = [(scenario.fleet.exchange_s, 0, EXCHANGE, 0)]
        self._sequence = 0

    def run(self, progress: Callable[[int], None] = lambda _: None) -> Simulation:
        """Until every request is finished or refused. `progress` gets the number done so far."""
        at, following, events = self.work.arrival_s.tolist(), 0, 0
        while self.record.left:
            if following < len(at) and at[following] <= self._events[0][0]:
                self._advance_to(at[following])
                self._arrive(following)
                following += 1
            else:
                self._step()
            events += 1
            if events % PROGRESS_EVERY == 0:
                progress(len(at) - self.record.left)
        progress(len(at))
        return self

    def _advance_to(self, now: float) -> None:
        self.replica_s += self.active * (now - self.now)
        self.now = now

    def _step(self) -> None:
        at, _, kind, index = heapq.heappop(self._events)
        self._advance_to(at)
        if kind == REPLICA:
            self._push(self.replicas[index].advance(at), REPLICA, index)
        elif kind == EXCHANGE:
            self._exchange()
        else:
            self._starting -= 1
            self.active += 1

    def _push(self, at: float | None, kind: int, index: int = 0) -> None:
        if at is not None:
            self._sequence += 1
            heapq.heappush(self._events, (at, self._sequence, kind, index))

    def _arrive(self, request: int) -> None:
        self.monitor.arrived()
        if not self.scenario.fleet.admit:
            self._send(request, self._route(request))
            return
        decision = self._admit(request)
        if decision.action == "queue":
            key = deadline_s(float(self.work.arrival_s[request]), self._request(request))
            heapq.heappush(self._door, (key, request))
        else:
            self._settle(request, decision)

    def _settle(self, request: int, decision: Admission) -> None:
        if decision.route is None:
            self.record.refuse(request)
        else:
            self._send(request, decision.route.index)

    def _route(self, request: int) -> int:
        if self.active == 1:
            return 0
        view = self.monitor.view(self.now, self.active)
        return route(view, self._request(request), self.scenario.fleet.admission.routing).index

    def _admit(self, request: int) -> Admission:
        view = self.monitor.view(self.now, self.active)
        return admit(view, self._request(request), len(self._door), self.scenario.fleet.admission)

    def _request(self, request: int) -> RequestView:
        """Past its TTFT objective a request only asks for its TPOT."""
        spec = self.scenario.classes[self.work.slo_class[request]]
        left_s = self.work.ttft_slo_s[request] - (self.now - self.work.arrival_s[request])
        return RequestView(
            prompt_tokens=int(self.work.prompt_tokens[request]),
            ttft_slo_s=float(left_s if left_s > 0 else np.inf),
            tpot_slo_s=float(self.work.tpot_slo_s[request]),
            priority=spec.priority,
            overload=spec.overload,
        )

    def _send(self, request: int, index: int) -> None:
        self.monitor.sent(index, int(self.work.prompt_tokens[request]))
        self._push(self.replicas[index].submit(request, self.now), REPLICA, index)

    def _exchange(self) -> None:
        self.monitor.exchange(self.now, self.active)
        self._open_door()
        self._scale()
        self._push(self.now + self.scenario.fleet.exchange_s, EXCHANGE)

    def _open_door(self) -> None:
        while self._door:
            request = self._door[0][1]
            if self._too_late(request):
                heapq.heappop(self._door)
                self.record.refuse(request)
                continue
            decision = self._admit(request)
            if decision.action != "serve":
                return
            heapq.heappop(self._door)
            self._settle(request, decision)

    def _too_late(self, request: int) -> bool:
        """As at the service's door: who may be refused is, once its first token would come too late in any case."""
        waited_s = self.now - self.work.arrival_s[request]
        shed = self.scenario.classes[self.work.slo_class[request]].overload == "shed"
        return bool(shed and waited_s > self.work.ttft_slo_s[request])

    def _scale(self) -> None:
        wanted = self.monitor.desired(self.now, self.active, self._starting)
        for _ in range(wanted - self.active - self._starting):
            self._starting += 1
            self._push(self.now + self.scenario.fleet.start_s, START)
        if wanted < self.active and not self._starting:
            self.active = max(wanted, 1)  # the rest finish what they have
