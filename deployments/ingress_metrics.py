"""The ingress's own counters."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

ROUTES = ("/v1/completions", "/v1/chat/completions")


class IngressMetrics:
    """At 0 from the start, so that a rate over them is never empty."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._responses = Counter(
            "adaspec_responses",
            "Answers by route and HTTP status; a stream counts when its headers go out.",
            ["route", "status"],
            registry=self._registry,
        )
        self._retries = Counter(
            "adaspec_retries",
            "Requests sent again because their replica was lost before the first token.",
            registry=self._registry,
        )
        self._broken = Counter(
            "adaspec_broken_streams",
            "Streams that ended in an error event because their replica was lost after the first token.",
            registry=self._registry,
        )
        self._tasks = Gauge(
            "adaspec_ingress_tasks",
            "Tasks in its event loop: alert when it only grows.",
            registry=self._registry,
        )
        for route in ROUTES:
            self._responses.labels(route, 200)

    def responded(self, route: str, status: int) -> None:
        self._responses.labels(route, status).inc()

    def retried(self) -> None:
        self._retries.inc()

    def broke(self) -> None:
        self._broken.inc()

    def exposition(self) -> str:
        self._tasks.set(len(asyncio.all_tasks()))
        return generate_latest(self._registry).decode()
