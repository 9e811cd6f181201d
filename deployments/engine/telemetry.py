"""Counters of what was drafted, verified and accepted, and what it took."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np

from policies.api import StepFeedback, StepPlan, StepView
from policies.exchange import ReplicaReport

RECENT = 0.05  # weight of the newest step in running means
MOST_REASONS = 64  # a policy that writes numbers into its reasons must not fill the memory


class Telemetry:
    """Counts since start; `report` is what `exchange` returns."""

    def __init__(self, k_max: int) -> None:
        self.counts: Counter[str] = Counter()
        self.k_steps: Counter[int] = Counter()
        self.reasons: Counter[str] = Counter()
        self.fallbacks: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._accepted_at = np.zeros(k_max, np.int64)
        self._reached_at = np.zeros(k_max, np.int64)
        self._recent: dict[str, float] = {}
        self._view: StepView | None = None
        self._reason = ""  # of the last plan

    def scheduled(self, preempted: int, prefix_hit_tokens: int) -> None:
        """What the scheduler did to begin a step; most steps neither preempt nor admit."""
        if preempted or prefix_hit_tokens:
            self.counts["preemptions"] += preempted
            self.counts["prefix_hit_tokens"] += prefix_hit_tokens

    def stepped(self, emitted_tokens: int, prompt_chunks: int = 0) -> None:
        self.counts["steps"] += 1
        self.counts["emitted_tokens"] += emitted_tokens
        self.counts["prompt_chunks"] += prompt_chunks

    def planned(self, view: StepView, plan: StepPlan) -> None:
        self._view = view
        known = plan.reason in self.reasons or len(self.reasons) < MOST_REASONS
        self._reason = plan.reason if known else "other"
        self.reasons[self._reason] += 1

    def repeated(self) -> None:
        """A step at K = 0 for which the last plan still held."""
        self.reasons[self._reason] += 1
        self.k_steps[0] += 1

    def drafted(self, k: int, drafted_tokens: int, draft_s: float, *, stopped_early: bool) -> None:
        self.k_steps[k] += 1
        self.counts["switches"] += k != self.counts["k_last"]
        self.counts["k_last"] = k
        self.counts["drafted_tokens"] += drafted_tokens
        self.counts["early_stops"] += stopped_early
        self.seconds["draft_s"] += draft_s

    def caught_up(self, tokens: int) -> None:
        self.counts["catch_ups"] += 1
        self.counts["catch_up_tokens"] += tokens

    def verified(self, seen: StepFeedback, predicted_s: float | None) -> None:
        if seen.k:
            self._positions(seen)
        if seen.idle:
            self.seconds["verify_s"] += seen.verify_s
            return
        self.timed(seen.batch, seen.verify_s, seen.step_s)
        self.counts["prefill_tokens"] += seen.prefill_tokens
        if predicted_s:
            self._mean("predicted_over_measured", predicted_s / seen.step_s)

    def timed(self, batch: int, verify_s: float, step_s: float) -> None:
        self.seconds["verify_s"] += verify_s
        self.seconds["step_s"] += step_s
        self.counts["decode_steps"] += 1
        self.counts["request_steps"] += batch
        self._mean("step_s_recent", step_s)

    def report(self, at_s: float, **more: Any) -> ReplicaReport:
        view = self._view
        gauges = {} if view is None else _gauges(view)
        return ReplicaReport(
            at_s=at_s,
            **self.counts,
            **self.seconds,
            **self._recent,
            **gauges,
            k_steps=dict(self.k_steps),
            reasons=dict(self.reasons),
            accepted_at=self._accepted_at.tolist(),
            reached_at=self._reached_at.tolist(),
            **more,
        )

    def _positions(self, seen: StepFeedback) -> None:
        slots = np.arange(len(self._accepted_at))
        self._accepted_at += (slots < seen.accepted[:, None]).sum(0)
        self._reached_at += (slots < np.minimum(seen.accepted + 1, seen.verified)[:, None]).sum(0)
        self.counts["verified_tokens"] += int(seen.verified.sum())
        self.counts["accepted_tokens"] += int(seen.accepted.sum())

    def _mean(self, name: str, value: float) -> None:
        self._recent[name] = value if name not in self._recent else (1 - RECENT) * self._recent[name] + RECENT * value


def _gauges(view: StepView) -> dict[str, Any]:
    return {
        "batch": view.batch,
        "context_tokens": int(view.context_tokens.sum()),
        "waiting": view.waiting,
        "waiting_prefill_tokens": view.waiting_prefill_tokens,
        "free_kv_fraction": view.free_kv_fraction,
    }
