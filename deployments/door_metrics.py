"""The door's counters: who came, who waited how long, who was refused and why, who attained."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as Total

from deployments.observe.outcomes import Outcomes

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
EXPECTED = [("serve", "fits"), ("serve", "infeasible")] + [
    ("shed", reason) for reason in ("ttft", "tpot", "kv", "seats", "late", "no_replica")
]
"""Decisions shown at 0 from the start."""
SHORT_S = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01)


class DoorMetrics:
    """`counts` by (class, what), for reports; the same and more as Prometheus metrics."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.prompt_tokens: defaultdict[str, float] = defaultdict(float)
        self.outcomes = Outcomes()
        self._registry = registry = CollectorRegistry()
        self._decided = Total(
            "adaspec_admissions",
            "Requests admitted or shed, by class and reason. Share refused: "
            'rate(adaspec_admissions_total{action="shed"}[5m]) / rate(adaspec_admissions_total[5m]).',
            ["slo_class", "action", "reason"],
            registry=registry,
        )
        self._slo = Total(
            "adaspec_slo_requests",
            "Finished requests by class and whether TTFT and mean TPOT were within their objectives. Attainment: "
            'rate(adaspec_slo_requests_total{attained="true"}[5m]) / rate(adaspec_slo_requests_total[5m]).',
            ["slo_class", "attained"],
            registry=registry,
        )
        self._waited = Histogram(
            "adaspec_door_wait_seconds", "From arrival to a replica.", ["slo_class"], buckets=SECONDS, registry=registry
        )
        self._deciding = Histogram(
            "adaspec_admission_decision_seconds", "Deciding about an arrival.", buckets=SHORT_S, registry=registry
        )
        self._waiting = Gauge("adaspec_door_waiting", "Requests held at the door.", ["slo_class"], registry=registry)

    def expect(self, classes: Iterable[str]) -> None:
        """Shows these classes at 0 before their first request."""
        names = list(classes)
        for name in names:
            self._waited.labels(name)
            self._waiting.labels(name)
            for action, reason in EXPECTED:
                self._decided.labels(name, action, reason)
            for attained in ("true", "false"):
                self._slo.labels(name, attained)
        self.outcomes.expect(names)

    def arrived(self, of: str, prompt_tokens: float) -> None:
        self._count(of, "arrived")
        self.prompt_tokens[of] += prompt_tokens

    def admitted(self, of: str, reason: str, waited_s: float) -> None:
        self._count(of, "admitted")
        self._decided.labels(of, "serve", reason).inc()
        self._waited.labels(of).observe(waited_s)

    def shed(self, of: str, reason: str) -> None:
        self._count(of, "shed")
        self._decided.labels(of, "shed", reason).inc()

    def finished(self, of: str, *, attained: bool) -> None:
        self._count(of, "finished")
        if attained:
            self._count(of, "attained")
        self._slo.labels(of, str(attained).lower()).inc()

    def decided(self, took_s: float) -> None:
        self._deciding.observe(took_s)

    def exposition(self, waiting: Mapping[str, int]) -> str:
        for of, count in waiting.items():
            self._waiting.labels(of).set(count)
        return generate_latest(self._registry).decode() + self.outcomes.exposition()

    def _count(self, of: str, what: str) -> None:
        self.counts.setdefault(of, Counter())[what] += 1
