"""What finished requests got: the GenAI histograms, attainment by objective, goodput; the last ones for the page."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

DURATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TTFT_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
TPOT_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
"""Bucket boundaries the OpenTelemetry GenAI conventions recommend."""
KEPT = 4096
"""Outcomes remembered for the page: bounded, whoever watches or not."""
OBJECTIVES = ("ttft", "tpot")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished request. A time that does not exist (the TPOT of one token) is None and keeps its objective."""

    slo_class: str
    ttft_s: float | None
    tpot_s: float | None  # mean over the request
    duration_s: float
    output_tokens: int
    ttft_attained: bool
    tpot_attained: bool

    @property
    def attained(self) -> bool:
        return self.ttft_attained and self.tpot_attained


@dataclass(frozen=True, slots=True)
class Recent:
    """One class over the last seconds. Quantiles are None where nothing finished."""

    finished: int
    attained: float | None
    ttft_p50_ms: float | None
    ttft_p90_ms: float | None
    tpot_p50_ms: float | None
    tpot_p90_ms: float | None
    goodput: float  # tokens a second of attained requests


class Outcomes:
    """One ingress's. Names follow the GenAI conventions as Prometheus spells them.

    `adaspec_slo_objectives_total{slo_class, objective, attained}`: attainment of one objective is
    `sum by (slo_class) (rate(adaspec_slo_objectives_total{objective="tpot",attained="true"}[5m]))
    / sum by (slo_class) (rate(adaspec_slo_objectives_total{objective="tpot"}[5m]))`.
    `adaspec_goodput_tokens_total{slo_class}`: output tokens of requests that met both objectives. Goodput, tokens/s:
    `sum by (slo_class) (rate(adaspec_goodput_tokens_total[1m]))`; its share of all output:
    `rate(adaspec_goodput_tokens_total[5m]) / rate(adaspec_output_tokens_total[5m])`.
    `gen_ai_server_time_to_first_token_seconds`, `..._time_per_output_token_seconds`, `..._request_duration_seconds`:
    `histogram_quantile(0.9, sum by (le, slo_class) (rate(gen_ai_server_time_per_output_token_seconds_bucket[5m])))`.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        by = ["slo_class"]
        self._objectives = Counter(
            "adaspec_slo_objectives",
            "Finished requests by class, objective (ttft, tpot) and whether it was met.",
            [*by, "objective", "attained"],
            registry=registry,
        )
        self._output = Counter("adaspec_output_tokens", "Output tokens of finished requests.", by, registry=registry)
        self._goodput = Counter(
            "adaspec_goodput_tokens", "Output tokens of requests within both objectives.", by, registry=registry
        )
        self._duration = Histogram(
            "gen_ai_server_request_duration_seconds", "Whole request.", by, buckets=DURATION_S, registry=registry
        )
        self._ttft = Histogram(
            "gen_ai_server_time_to_first_token_seconds", "From arrival.", by, buckets=TTFT_S, registry=registry
        )
        self._tpot = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Mean of a request after its first token.",
            by,
            buckets=TPOT_S,
            registry=registry,
        )
        self._last: deque[tuple[float, Outcome]] = deque(maxlen=KEPT)
        self._told: list[Callable[[Outcome], None]] = []

    def tell(self, listener: Callable[[Outcome], None]) -> None:
        """`listener` gets every outcome from now on."""
        self._told.append(listener)

    def expect(self, classes: Iterable[str]) -> None:
        """Shows these classes at 0 before any request of theirs finished."""
        for name in classes:
            for metric in (self._output, self._goodput, self._duration, self._ttft, self._tpot):
                metric.labels(name)
            for objective in OBJECTIVES:
                for attained in ("true", "false"):
                    self._objectives.labels(name, objective, attained)

    def finished(self, outcome: Outcome) -> None:
        of = outcome.slo_class
        for objective, met in zip(OBJECTIVES, (outcome.ttft_attained, outcome.tpot_attained), strict=True):
            self._objectives.labels(of, objective, str(met).lower()).inc()
        self._output.labels(of).inc(outcome.output_tokens)
        self._goodput.labels(of).inc(outcome.output_tokens if outcome.attained else 0)
        self._duration.labels(of).observe(outcome.duration_s)
        for histogram, seconds in ((self._ttft, outcome.ttft_s), (self._tpot, outcome.tpot_s)):
            if seconds is not None:
                histogram.labels(of).observe(seconds)
        self._last.append((time.monotonic(), outcome))
        for listener in self._told:
            listener(outcome)

    def broken(self, slo_class: str, duration_s: float) -> None:
        """It ended without an answer: both objectives are missed."""
        self.finished(Outcome(slo_class, None, None, duration_s, 0, ttft_attained=False, tpot_attained=False))

    def recent(self, within_s: float) -> dict[str, Recent]:
        """By class, what finished in the last `within_s` seconds."""
        since_s = time.monotonic() - within_s
        by_class: dict[str, list[Outcome]] = {}
        for at_s, outcome in reversed(self._last):
            if at_s < since_s:
                break
            by_class.setdefault(outcome.slo_class, []).append(outcome)
        return {name: _recent(outcomes, within_s) for name, outcomes in by_class.items()}

    def exposition(self) -> str:
        return generate_latest(self._registry).decode()


def _recent(outcomes: list[Outcome], within_s: float) -> Recent:
    ttft = _quantiles([o.ttft_s for o in outcomes])
    tpot = _quantiles([o.tpot_s for o in outcomes])
    good = sum(o.output_tokens for o in outcomes if o.attained)
    share = sum(o.attained for o in outcomes) / len(outcomes)
    return Recent(len(outcomes), share, *ttft, *tpot, good / within_s)


def _quantiles(seconds: list[float | None]) -> tuple[float | None, float | None]:
    """P50 and p90 in milliseconds."""
    known = sorted(s for s in seconds if s is not None)
    if not known:
        return None, None
    return _between(known, 0.5), _between(known, 0.9)


def _between(rising: list[float], q: float) -> float:
    """As numpy's quantile, which takes longer for a few values than all the rest of a frame."""
    at, rest = divmod(q * (len(rising) - 1), 1.0)
    low = rising[int(at)]
    high = rising[min(int(at) + 1, len(rising) - 1)]
    return round(1e3 * (low + rest * (high - low)), 2)
