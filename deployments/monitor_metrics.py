"""The load monitor's own figures."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from policies.exchange import LoadOutlook
from policies.fleet.scale import Scale


class MonitorMetrics:
    """Gauges, set when somebody looks."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._arrivals = self._gauge("adaspec_arrival_rps", "Requests a second the fleet is about to see.")
        self._batch = self._gauge("adaspec_expected_batch_p90", "Requests decoding over the fleet, forecast.")
        self._desired = self._gauge("adaspec_desired_replicas", "Replicas the monitor wants.")
        self._hung = Counter(
            "adaspec_replicas_hung",
            "Replicas given up because their engine held requests and made no step: alert on any increase.",
            registry=self._registry,
        )
        self._attainment = Gauge(
            "adaspec_slo_attainment",
            "Share of the requests finished lately that attained: alert on min(adaspec_slo_attainment) < 0.95.",
            ["slo_class"],
            registry=self._registry,
        )

    def hung(self) -> None:
        self._hung.inc()

    def exposition(self, seen: LoadOutlook, decided: Scale, attainment: Mapping[str, float]) -> str:
        self._arrivals.set(seen.arrival_rps)
        self._batch.set(seen.expected_batch_p90)
        self._desired.set(decided.desired)
        self._attainment.clear()  # of a class of which nothing finished lately there is none
        for of, share in attainment.items():
            self._attainment.labels(of).set(share)
        return generate_latest(self._registry).decode()

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry)
