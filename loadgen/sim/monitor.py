"""The slow clock: reports in, outlooks and the fleet's view out, by the functions the service uses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loadgen.sim.record import Record
from loadgen.sim.replica import Replica
from loadgen.sim.scenario import Scenario
from loadgen.sim.workload import Workload
from policies.fleet.outlook import UNBOUNDED, Arrivals, ReplicaLoad, ahead, batch_ahead, observed, outlook
from policies.fleet.scale import Scale, ScaleView, scale
from policies.fleet.steptime import StepTrend
from policies.fleet.views import FleetView

KEEP = 0.9  # weight of what was known before, per exchange


class Monitor:
    """State between two exchanges. Arrays are over all replicas that may ever run."""

    def __init__(self, scenario: Scenario, work: Workload, record: Record, replicas: Sequence[Replica]) -> None:
        self._scenario, self._record, self._replicas = scenario, record, replicas
        truth, n = scenario.truth, len(replicas)
        self._arrivals, self._count, self._trend = Arrivals(at_s=0.0), 0, StepTrend()
        self._later = Arrivals(at_s=0.0)  # the same arrivals, with the memory that scaling needs
        self._prompt_tokens = float(work.prompt_tokens.mean())
        self._finished, self._residence_sum_s, self._residence_s = 0.0, 0.0, 1.0
        self._by_class = np.zeros((2, len(scenario.classes)))
        self._attainment = np.ones(len(scenario.classes))
        self._seen = np.zeros((4, n))  # steps, step seconds, tokens, request-steps at the last exchange
        self._at_s = 0.0
        self._batch, self._waiting, self._backlog = np.zeros(n), np.zeros(n), np.zeros(n)
        self._sent, self._sent_tokens = np.zeros(n), np.zeros(n)
        self._free_kv, self._per_step = np.ones(n), np.ones(n)
        self._step_s = np.full(n, truth.verify_s(1, 1, self._prompt_tokens))
        self._seats = np.full(n, float(truth.seats))
        full_s = truth.verify_s(truth.token_budget, truth.seats / 2, truth.kv_tokens / 2)
        self._prefill_rate = np.full(n, truth.token_budget / full_s)
        self._scale: Scale | None = None

    def arrived(self) -> None:
        self._count += 1

    def sent(self, index: int, prompt_tokens: int) -> None:
        self._sent[index] += 1
        self._sent_tokens[index] += prompt_tokens

    def view(self, now: float, active: int) -> FleetView:
        """The first `active` replicas."""
        rows = slice(active)
        return FleetView(
            age_s=np.full(active, now - self._at_s),
            batch=self._batch[rows],
            waiting=self._waiting[rows],
            backlog_tokens=self._backlog[rows],
            sent=self._sent[rows],
            sent_tokens=self._sent_tokens[rows],
            seats=self._seats[rows],
            step_s=self._step_s[rows],
            step_per_request_s=np.full(active, self._trend.per_request_s),
            tokens_per_step=self._per_step[rows],
            prefill_tokens_per_s=self._prefill_rate[rows],
            residence_s=np.full(active, self._residence_s),
            free_kv_fraction=self._free_kv[rows],
        )

    def exchange(self, now: float, active: int) -> None:
        """Take every replica's report; send it its outlook."""
        self._at_s = now
        fleet = self._scenario.fleet
        self._arrivals = observed(self._arrivals, self._count, now, fleet.forecast)
        self._later = observed(self._later, self._count, now, ahead(fleet.forecast, fleet.start_s))
        self._count = 0
        self._sent[:] = self._sent_tokens[:] = 0
        self._learn_requests()
        for i, replica in enumerate(self._replicas):
            self._report(i, replica)
        if fleet.outlook != "none":
            self._send(active)

    def desired(self, now: float, active: int, starting: int) -> int:
        """Replicas the scaling policy wants; raises nothing where scaling is off."""
        settings = self._scenario.fleet.scaling
        if settings is None:
            return active + starting
        tightest = min(c.tpot_ms for c in self._scenario.classes) / 1e3
        per_step = float(self._per_step[:active].mean())
        limit = self._trend.batch_limit(tightest * per_step, self._scenario.truth.seats)
        batch, waiting = int(self._batch[:active].sum()), int(self._waiting[:active].sum())
        load, fleet = ReplicaLoad(batch, waiting, 1.0, self._residence_s, UNBOUNDED), self._scenario.fleet
        expected = batch_ahead(self._later, load, fleet.forecast, fleet.start_s)
        worst = float(self._attainment.min()) if self._finished else None
        seen = ScaleView(now, active + starting, expected, float(batch + waiting), limit, worst, waiting)
        self._scale = scale(seen, self._scale, settings)
        return self._scale.desired

    def _learn_requests(self) -> None:
        record = self._record
        finished = float(record.finished_by_class.sum())
        if finished > self._finished:
            mean_s = (record.residence_s - self._residence_sum_s) / (finished - self._finished)
            keep = KEEP if self._finished else 0.0
            self._residence_s = keep * self._residence_s + (1 - keep) * mean_s
        self._finished, self._residence_sum_s = finished, record.residence_s
        now = np.stack((record.finished_by_class, record.attained_by_class))
        done, met = now - self._by_class
        share = np.divide(met, done, out=self._attainment.copy(), where=done > 0)
        self._attainment = KEEP * self._attainment + (1 - KEEP) * share
        self._by_class = now

    def _report(self, i: int, replica: Replica) -> None:
        t = replica.tally
        now = np.array((t.steps, t.step_s, t.emitted_tokens, t.request_steps), np.float64)
        steps, step_s, tokens, request_steps = now - self._seen[:, i]
        self._seen[:, i] = now
        self._batch[i] = replica.batch.n + len(replica.queue.prefilling)
        self._waiting[i] = len(replica.queue.waiting)
        self._backlog[i] = replica.queue.tokens
        self._free_kv[i] = 1 - replica.used_blocks() / replica.kv_blocks
        if steps:
            self._step_s[i] = step_s / steps
            self._per_step[i] = tokens / request_steps
            self._trend = self._trend.seen(request_steps / steps, step_s / steps)

    def _send(self, active: int) -> None:
        fleet = self._scenario.fleet
        names = [c.name for c in self._scenario.classes]
        attainment = dict(zip(names, self._attainment.round(4).tolist(), strict=True))
        for i, replica in enumerate(self._replicas[:active]):
            if fleet.outlook == "frozen" and replica.outlook is not None:
                continue
            batch, waiting = int(self._batch[i]), int(self._waiting[i])
            load = ReplicaLoad(batch, waiting, 1 / active, self._residence_s, int(self._seats[i]))
            replica.outlook = outlook(self._arrivals, load, self._prompt_tokens, attainment, fleet.forecast)
