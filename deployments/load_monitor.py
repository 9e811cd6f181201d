"""Collects every replica's report and answers each with what it cannot know by itself."""

from __future__ import annotations

import time
from typing import Any

from deployments.live import Live
from deployments.scrape import Scrape
from deployments.settings import MonitorConfig
from deployments.status import Exchanged, FleetStatus, ReplicaStatus, SeenReplica
from policies.exchange import LoadOutlook
from policies.fleet.outlook import Arrivals, ReplicaLoad, observed, outlook

TICK_S = 0.2  # arrivals are counted over at least this long


class LoadMonitor:
    """Holds nothing that the next round of reports would not bring back."""

    def __init__(self) -> None:
        self._live = Live(MonitorConfig())
        self._seen: dict[str, tuple[ReplicaStatus, float]] = {}
        self._arrivals = Arrivals(at_s=time.time())
        self._arrived = 0
        self._scrape = Scrape()

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Never raises: Serve would stop the monitor."""
        self._live.update(user_config)

    async def exchange(self, status: ReplicaStatus) -> Exchanged:
        """One call does both ways: the report in, the outlook back."""
        before = self._seen.get(status.replica)
        if before is not None:
            self._arrived += max(0, status.received - before[0].received)
        self._seen[status.replica] = status, time.monotonic()
        self._tick()
        return Exchanged(outlook=self._outlook([status]), scrape=self._scrape.wanted(status.replica))

    async def leave(self, replica: str) -> None:
        """A replica that ends in good order."""
        self._seen.pop(replica, None)

    async def expose(self, replica: str, text: str) -> None:
        """A replica's metrics, which an `Exchanged` asked for."""
        self._scrape.deliver(replica, text)

    async def expositions(self, timeout_s: float) -> dict[str, str]:
        """Metrics of every replica that is not stale, taken now."""
        fresh = [seen.status.replica for seen in (await self.fleet()).replicas if not seen.stale]
        return await self._scrape.collect(fresh, timeout_s)

    async def fleet(self) -> FleetStatus:
        """Everything known now, with its age."""
        self._tick()
        now_s = time.monotonic()
        seen = tuple(self._aged(status, now_s - at_s) for status, at_s in self._seen.values())
        return FleetStatus(
            at_s=time.time(),
            replicas=seen,
            outlook=self._outlook([status for status, _ in self._seen.values()]),
            last_rejection=self._live.rejection,
        )

    def _tick(self) -> None:
        now_s, config = time.time(), self._live.now
        if now_s - self._arrivals.at_s >= TICK_S:
            self._arrivals = observed(self._arrivals, self._arrived, now_s, config.outlook)
            self._arrived = 0
        oldest_s = time.monotonic() - config.forget_after_s
        self._seen = {name: seen for name, seen in self._seen.items() if seen[1] >= oldest_s}

    def _aged(self, status: ReplicaStatus, age_s: float) -> SeenReplica:
        return SeenReplica(status=status, age_s=age_s, stale=age_s > self._live.now.stale_after_s)

    def _outlook(self, of: list[ReplicaStatus]) -> LoadOutlook:
        """For one replica, or summed over several. Arrivals are taken to spread evenly."""
        load = ReplicaLoad(
            batch=sum(s.report.batch for s in of),
            waiting=sum(s.report.waiting or 0 for s in of),
            share=len(of) / max(len(self._seen), 1),
            residence_s=sum(s.residence_s for s in of) / max(len(of), 1),
            seats=sum(s.seats for s in of),
        )
        return outlook(self._arrivals, load, prompt_tokens=0.0, attainment={}, settings=self._live.now.outlook)
