"""A replica's own counters, beside its engine's."""

from __future__ import annotations

import asyncio
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


class ReplicaMetrics:
    """At 0 from the start, so that a rate over them is never empty."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._reloads = Counter(
            "adaspec_reloads",
            "Configs sent to this replica, by outcome. A refused one leaves the last good one serving: "
            'alert on increase(adaspec_reloads_total{outcome="rejected"}[5m]) > 0.',
            ["outcome"],
            registry=self._registry,
        )
        self._failures = Counter(
            "adaspec_exchange_failures",
            "Reports the load monitor did not take; the policy then goes by local state only.",
            registry=self._registry,
        )
        self._refused = Gauge(
            "adaspec_config_refused",
            "1 while the last config sent to this replica stands refused: adaspec_config_refused == 1.",
            registry=self._registry,
        )
        self._tasks = Gauge(
            "adaspec_replica_tasks",
            "Tasks in its event loop: alert when it only grows.",
            registry=self._registry,
        )
        self._warned = False
        for outcome in ("applied", "rejected"):
            self._reloads.labels(outcome)

    def reloaded(self, outcome: Literal["applied", "rejected"]) -> None:
        self._reloads.labels(outcome).inc()

    def exchange_failed(self) -> bool:
        """True for the first failure: say it once."""
        self._failures.inc()
        first, self._warned = not self._warned, True
        return first

    def exposition(self, *, refused: bool = False) -> str:
        self._refused.set(refused)
        self._tasks.set(len(asyncio.all_tasks()))
        return generate_latest(self._registry).decode()
