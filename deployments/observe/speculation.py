"""A replica's speculation as Prometheus families, made from its last report when somebody scrapes.

Counters are the engine's own sums since its start; every family is there from the first scrape on, at 0, and no gauge
vanishes: what is not known yet is NaN, which no alert takes for a number. vLLM's `vllm:spec_decode_*` stay beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from policies.exchange import ReplicaReport

REASONS = ("draft", "plain", "probe", "no_room", "off", "fallback")
"""Reasons shown at 0 from the start; a policy may add its own."""
FALLBACKS = (
    *("raised", "impossible", "interrupted", "overrun", "clamped"),
    *("reload_rejected", "state_not_restored", "profile_refused", "draft_failed", "objective_unread"),
)


@dataclass(frozen=True, slots=True, eq=False)  # a registry hashes its collectors
class Families:
    """A prometheus_client collector of what is there."""

    families: tuple[Metric, ...]

    def collect(self) -> Iterable[Metric]:
        return self.families


@dataclass(frozen=True, slots=True)
class Speculation:
    """All families of one report."""

    report: ReplicaReport
    k_max: int

    def collect(self) -> Iterator[Metric]:
        for group in (lengths, positions):
            yield from group(self.report, self.k_max)
        for of_report in (decisions, tokens, times, step_time, load, safety):
            yield from of_report(self.report)


def exposition(report: ReplicaReport | None, k_max: int) -> str:
    """Prometheus text; before the first report everything is 0."""
    return text_of(*Speculation(report or ReplicaReport(at_s=0.0), k_max).collect())


def text_of(*families: Metric) -> str:
    """Prometheus text of families made by hand."""
    registry = CollectorRegistry()
    registry.register(Families(families))
    return generate_latest(registry).decode()


def lengths(report: ReplicaReport, k_max: int) -> Iterable[Metric]:
    """`adaspec_speculative_length`: K of the last step. `adaspec_steps_total{k}`: steps by drafted K.

    Mean K: `sum by (replica) (rate(adaspec_drafted_tokens_total[1m])) / ...` counts tokens; of steps it is
    sum(k x rate(adaspec_steps_total{k})) / sum(rate(adaspec_steps_total)). Share of steps without speculation:
    `sum(rate(adaspec_steps_total{k="0"}[1m])) / sum(rate(adaspec_steps_total[1m]))`.
    """
    yield _gauge("adaspec_speculative_length", "K of the last step, draft tokens per request.", report.k_last)
    steps = {str(k): report.k_steps.get(k, 0) for k in range(k_max + 1)}
    yield _counters("adaspec_steps", "Decode steps by the K that was drafted.", "k", steps)


def decisions(report: ReplicaReport) -> Iterable[Metric]:
    """`adaspec_decisions_total{reason}`: why K was what it was, one a step.

    `topk(3, sum by (reason) (rate(adaspec_decisions_total[1m])))`
    """
    reasons = dict.fromkeys(REASONS, 0) | report.reasons
    yield _counters("adaspec_decisions", "Decisions by the policy's reason, one a decode step.", "reason", reasons)


def tokens(report: ReplicaReport) -> Iterable[Metric]:
    """Draft tokens on their way: drafted >= verified >= accepted; rejected = verified - accepted.

    Acceptance rate, accepted / (accepted + rejections), one rejection ending a request's step:
    `rate(adaspec_accepted_tokens_total[1m]) / sum by (replica) (rate(adaspec_position_reached_total[1m]))`.
    Waste, the share of drafted tokens that became no output:
    `1 - rate(adaspec_accepted_tokens_total[1m]) / rate(adaspec_drafted_tokens_total[1m])`.
    Tokens per request and step: `rate(adaspec_emitted_tokens_total[1m]) / ...` over the batch.
    """
    yield _counter("adaspec_emitted_tokens", "Output tokens.", report.emitted_tokens)
    yield _counter("adaspec_drafted_tokens", "Usable draft tokens.", report.drafted_tokens)
    yield _counter("adaspec_verified_tokens", "Draft tokens the target verified.", report.verified_tokens)
    yield _counter("adaspec_accepted_tokens", "Draft tokens accepted.", report.accepted_tokens)
    rejected = report.verified_tokens - report.accepted_tokens
    yield _counter("adaspec_rejected_tokens", "Draft tokens verified in vain: verified - accepted.", rejected)
    yield _counter("adaspec_early_stops", "Steps whose drafting the policy stopped early.", report.early_stops)
    yield _counter("adaspec_catch_ups", "Passes that filled holes in the draft's KV cache.", report.catch_ups)
    yield _counter("adaspec_catch_up_tokens", "Tokens the draft caught up on.", report.catch_up_tokens)


def positions(report: ReplicaReport, k_max: int) -> Iterable[Metric]:
    """Acceptance by draft position, of those that were reached (verified, and all before them accepted).

    `rate(adaspec_position_accepted_total[5m]) / rate(adaspec_position_reached_total[5m])` by position.
    """
    accepted = {str(j): _at(report.accepted_at, j) for j in range(k_max)}
    reached = {str(j): _at(report.reached_at, j) for j in range(k_max)}
    yield _counters("adaspec_position_accepted", "Accepted, by draft position from 0.", "position", accepted)
    yield _counters("adaspec_position_reached", "Verified and reached, by draft position.", "position", reached)


def times(report: ReplicaReport) -> Iterable[Metric]:
    """Where the time goes, seconds since start: deciding, drafting, verifying, whole step periods.

    Deciding per step: `rate(adaspec_decision_seconds_total[1m]) / sum by (replica) (rate(adaspec_steps_total[1m]))`.
    Share of time spent drafting: `rate(adaspec_draft_seconds_total[1m]) / rate(adaspec_step_seconds_total[1m])`.
    """
    yield _counter("adaspec_decision_seconds", "CPU seconds in the policy's hooks.", report.decide_s)
    yield _counter("adaspec_draft_seconds", "Seconds drafting.", report.draft_s)
    yield _counter("adaspec_verify_seconds", "Seconds in the target's pass and sampling.", report.verify_s)
    yield _counter("adaspec_step_seconds", "Seconds of step periods with work all along.", report.step_s)


def step_time(report: ReplicaReport) -> Iterable[Metric]:
    """How true the cost model is: running mean of predicted / measured step time; 1 is right, 2 predicts twice.

    Predicted seconds: `adaspec_step_time_recent_seconds * adaspec_step_time_predicted_ratio`.
    Drift: `abs(adaspec_step_time_predicted_ratio - 1) > 0.3`. NaN before the first step.
    """
    measured = report.step_s_recent or math.nan
    ratio = math.nan if report.predicted_over_measured is None else report.predicted_over_measured
    yield _gauge("adaspec_step_time_recent_seconds", "Running mean of the step period.", measured)
    yield _gauge("adaspec_step_time_predicted_ratio", "Running mean of predicted / measured step time.", ratio)


def load(report: ReplicaReport) -> Iterable[Metric]:
    """What the policy saw of the load as of the last step. Unknown (plain worker, no scheduler hook): NaN."""
    waiting = math.nan if report.waiting is None else report.waiting
    free = math.nan if report.free_kv_fraction is None else report.free_kv_fraction
    yield _gauge("adaspec_batch", "Requests decoding.", report.batch)
    yield _gauge("adaspec_waiting", "Requests queued in the engine.", waiting)
    yield _gauge("adaspec_context_tokens", "Context tokens of the batch, summed.", report.context_tokens)
    yield _gauge("adaspec_free_kv_ratio", "Free share of the KV cache, 0..1.", free)


def safety(report: ReplicaReport) -> Iterable[Metric]:
    """What the guard did: faults by kind, and whether plain decoding stands in for the policy right now.

    `increase(adaspec_fallbacks_total[5m]) > 0`, `adaspec_fallback_active == 1`. Which policy: `adaspec_policy_info`.
    """
    kinds = dict.fromkeys(FALLBACKS, 0)
    for kind, count in report.fallbacks.items():
        name = kind.split(":", 1)[0]  # raised:<type>: a user's exception types would be labels without bound
        kinds[name] = kinds.get(name, 0) + count
    yield _counters("adaspec_fallbacks", "Faults of policy or engine, by kind.", "kind", kinds)
    active = bool(report.policy_state.get("fallback"))
    yield _gauge("adaspec_fallback_active", "1 while plain decoding stands in for a faulty policy.", active)
    info = GaugeMetricFamily("adaspec_policy_info", "1, labelled with the active policy.", labels=["policy"])
    info.add_metric([report.policy or "none"], 1)
    yield info


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=float(value))


def _counters(name: str, text: str, label: str, values: Mapping[str, Any]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _at(counts: list[int], j: int) -> int:
    return counts[j] if j < len(counts) else 0
