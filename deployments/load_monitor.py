"""Collects every replica's report and answers each with what it cannot know by itself; the same for every door."""

from __future__ import annotations

import math
import time
from typing import Any

from deployments.demand import Demand
from deployments.live import Live
from deployments.monitor_metrics import MonitorMetrics
from deployments.scrape import Scrape
from deployments.settings import MonitorConfig
from deployments.slo_status import DoorAnswer, DoorReport, SloStatus
from deployments.status import Exchanged, FleetStatus, ReplicaStatus, SeenReplica
from policies.exchange import LoadOutlook
from policies.fleet.outlook import UNBOUNDED, Arrivals, ReplicaLoad, batch_ahead, observed, outlook
from policies.fleet.scale import Scale, ScaleView, scale
from policies.fleet.track import ReplicaFigures, Track, figures

TICK_S = 0.2  # arrivals are counted over at least this long


class LoadMonitor:
    """Holds nothing that the next rounds of reports would not bring back. The wall clock is told, not used."""

    def __init__(self) -> None:
        self._live = Live(MonitorConfig())
        self._seen: dict[str, tuple[ReplicaStatus, float]] = {}
        self._tracks: dict[str, Track] = {}
        self._arrivals = Arrivals(at_s=time.monotonic())
        self._arrived = 0
        self._demand = Demand(time.monotonic())
        self._scale: Scale | None = None
        self._began_s = time.monotonic()
        self._scrape = Scrape()
        self._metrics = MonitorMetrics()

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Never raises: Serve would stop the monitor."""
        self._live.update(user_config)

    async def exchange(self, status: ReplicaStatus) -> Exchanged:
        """One call does both ways: the report in, the outlook back."""
        before = self._seen.get(status.replica)
        if before is not None:
            self._arrived += max(0, status.received - before[0].received)
        self._seen[status.replica] = status, time.monotonic()
        self._tracks[status.replica] = self._tracks.get(status.replica, Track()).seen(status.report)
        self._tick()
        return Exchanged(
            outlook=self._outlook([status]),
            scrape=self._scrape.wanted(status.replica),
            desired_replicas=self._desired().desired,
        )

    async def door(self, report: DoorReport) -> DoorAnswer:
        """The same for an ingress: its counts in, every replica's figures back."""
        self._demand.heard(report, time.monotonic(), self._live.now.attainment_memory_s)
        self._tick()
        return DoorAnswer(replicas=self._figures())

    async def leave(self, replica: str) -> None:
        """A replica that ends in good order."""
        self._seen.pop(replica, None)

    async def hung(self, replica: str) -> None:
        """A replica that gave its engine up: it held requests and made no step. Serve replaces it."""
        self._metrics.hung()
        await self.leave(replica)

    async def expose(self, replica: str, text: str) -> None:
        """A replica's metrics, which an `Exchanged` asked for."""
        self._scrape.deliver(replica, text)

    async def expositions(self, timeout_s: float) -> dict[str, str]:
        """Metrics of every replica that is not stale, taken now."""
        fresh = [seen.status.replica for seen in (await self.fleet()).replicas if not seen.stale]
        return await self._scrape.collect(fresh, timeout_s)

    async def exposition(self) -> str:
        """The monitor's own."""
        self._tick()
        return self._metrics.exposition(self._fleet_outlook(), self._desired(), self._demand.attainment())

    async def fleet(self) -> FleetStatus:
        """Everything known now, with its age."""
        self._tick()
        now_s = time.monotonic()
        seen = tuple(self._aged(status, now_s - at_s) for status, at_s in self._seen.values())
        return FleetStatus(
            at_s=time.time(),
            replicas=seen,
            outlook=self._fleet_outlook(),
            last_rejection=self._live.rejection,
        )

    async def slo(self) -> SloStatus:
        """What /v1/slo shows."""
        self._tick()
        decided = self._desired()
        return SloStatus(
            at_s=time.time(),
            classes=self._demand.classes(),
            arrival_rps=self._demand.arrivals.forecast_rps(self._live.now.outlook.horizon_s),
            replicas=self._figures(),
            desired_replicas=decided.desired,
            scale_reason=decided.reason,
            outlook=self._fleet_outlook(),
        )

    def _tick(self) -> None:
        now_s, config = time.monotonic(), self._live.now
        if now_s - self._arrivals.at_s >= TICK_S:
            self._arrivals = observed(self._arrivals, self._arrived, now_s, config.outlook)
            self._arrived = 0
        self._demand.tick(now_s, config)
        oldest_s = now_s - config.forget_after_s
        self._seen = {name: seen for name, seen in self._seen.items() if seen[1] >= oldest_s}
        self._tracks = {name: track for name, track in self._tracks.items() if name in self._seen}

    def _aged(self, status: ReplicaStatus, age_s: float) -> SeenReplica:
        return SeenReplica(status=status, age_s=age_s, stale=age_s > self._live.now.stale_after_s)

    def _fresh(self) -> list[ReplicaStatus]:
        oldest_s = time.monotonic() - self._live.now.stale_after_s
        return [status for status, at_s in self._seen.values() if at_s >= oldest_s]

    def _figures(self) -> tuple[ReplicaFigures, ...]:
        now_s = time.monotonic()
        return tuple(
            figures(name, self._tracks[name], now_s - at_s, status.seats, status.residence_s)
            for name, (status, at_s) in self._seen.items()
        )

    def _fleet_outlook(self) -> LoadOutlook:
        return self._outlook([status for status, _ in self._seen.values()])

    def _outlook(self, of: list[ReplicaStatus]) -> LoadOutlook:
        """For one replica, or summed over several. Arrivals and those who wait are taken to spread evenly."""
        share = len(of) / max(len(self._seen), 1)
        made = outlook(
            self._arrivals,
            self._load(of, share, sum(s.seats for s in of)),
            prompt_tokens=self._demand.prompt_tokens,
            attainment=self._demand.attainment(),
            settings=self._live.now.outlook,
        )
        return made.model_copy(update={"at_s": time.time()})

    def _load(self, of: list[ReplicaStatus], share: float, seats: int) -> ReplicaLoad:
        return ReplicaLoad(
            batch=sum(s.report.batch for s in of),
            waiting=sum(s.report.waiting or 0 for s in of) + round(share * self._demand.waiting()),
            share=share,
            residence_s=sum(s.residence_s for s in of) / max(sum(s.residence_s > 0 for s in of), 1),
            seats=seats,
        )

    def _desired(self) -> Scale:
        """Replicas wanted now. What was wanted before counts as there: it runs, starts, or is being drained."""
        config, fresh = self._live.now, self._fresh()
        load = self._load(fresh, 1.0, UNBOUNDED)
        present = float(load.batch + load.waiting)
        later = batch_ahead(self._demand.trend, load, config.outlook, config.start_s)
        view = ScaleView(
            at_s=time.monotonic(),
            replicas=self._there(fresh),
            expected_batch=later if load.residence_s else present,  # how long they stay is not known: nothing finished
            present=present,
            batch_limit=self._batch_limit(fresh),
            attainment=self._demand.worst(),
            waiting=load.waiting,
        )
        found = scale(view, self._scale, config.scaling)
        if fresh or self._scale is not None:
            self._scale = found
        return found

    def _there(self, fresh: list[ReplicaStatus]) -> int:
        """Replicas that run or start. A monitor that starts anew finds not the few that reported: what was wanted."""
        before = 0 if self._scale is None else self._scale.desired
        if before and time.monotonic() - self._began_s > self._live.now.stale_after_s:
            return before
        return max([before, len(fresh), *(status.desired_replicas or 0 for status in fresh)])

    def _batch_limit(self, fresh: list[ReplicaStatus]) -> float:
        """The largest batch at which every replica keeps the tightest TPOT."""
        tpot_s, limits = self._demand.tightest_tpot_s(), []
        for status in fresh:
            track, seats = self._tracks[status.replica], float(status.seats)
            known = math.isfinite(tpot_s) and track.trend.weight > 0
            limits.append(track.trend.batch_limit(tpot_s * track.tokens_per_step, seats) if known else seats)
        return min(limits, default=1.0)
