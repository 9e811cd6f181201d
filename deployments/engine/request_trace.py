"""The engine's part of a request's trace: noted while it runs, handed over with the next report, never exported here.

Only requests that carry `TRACE_KEY` are noted, so that an untraced one costs a dictionary look-up.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from policies.api import IntArray, StepFeedback, StepView
from policies.exchange import TracedRequest

TRACE_KEY = "adaspec_traceparent"
"""`SamplingParams.extra_args["adaspec_traceparent"]`: the W3C trace context the request's spans belong under."""
CHANGES = 64
"""Changes of K remembered of a request; the first ones, later ones only counted in `k_steps`."""
KEPT = 1024
"""Requests under way or waiting to be handed over: an engine nobody asks for reports forgets the oldest."""


@dataclass(slots=True)
class Notes:
    """One request under way."""

    traceparent: str
    scheduled_at_s: float
    first_token_at_s: float = 0.0
    last_token_at_s: float = 0.0
    context_tokens: int = 0
    output_tokens: int = 0
    last_k: int = -1
    counts: Counter[str] = field(default_factory=Counter)
    k_steps: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    changes: list[tuple[float, int, str]] = field(default_factory=list)


class TraceBook:
    """Called from the worker's step loop."""

    def __init__(self) -> None:
        self._open: dict[str, Notes] = {}
        self._done: deque[TracedRequest] = deque(maxlen=KEPT)

    @property
    def active(self) -> bool:
        return bool(self._open)

    def scheduled(self, request_id: str, extra_args: Mapping[str, Any] | None) -> None:
        """The first step that computes part of the request's prompt."""
        traceparent = (extra_args or {}).get(TRACE_KEY)
        if isinstance(traceparent, str) and len(self._open) < KEPT:
            self._open[request_id] = Notes(traceparent, time.time())

    def planned(self, view: StepView) -> None:
        """A step's decode requests: their tokens so far."""
        if not self._open:
            return
        for row, request_id in enumerate(view.request_ids):
            notes = self._open.get(request_id)
            if notes is not None:
                notes.first_token_at_s = notes.first_token_at_s or time.time()
                notes.output_tokens = int(view.emitted_tokens[row])
                notes.context_tokens = int(view.context_tokens[row])

    def verified(self, seen: StepFeedback, lag_tokens: IntArray, reason: str, *, stopped_early: bool) -> None:
        """What became of a step's drafts; `lag_tokens` [B] the draft caught up on for them."""
        if not self._open:
            return
        for row, request_id in enumerate(seen.request_ids):
            notes = self._open.get(request_id)
            if notes is not None:
                notes.counts["catch_up"] += int(lag_tokens[row]) if seen.k else 0
                notes.counts["early_stops"] += stopped_early
                _add(notes, seen, row, reason)

    def finished(self, request_ids: Iterable[str], policy: str) -> None:
        for request_id in request_ids:
            notes = self._open.pop(request_id, None)
            if notes is not None:
                self._done.append(_whole(request_id, notes, policy))

    def take(self) -> tuple[TracedRequest, ...]:
        """Finished since the last call."""
        done = tuple(self._done)
        self._done.clear()
        return done


def _add(notes: Notes, seen: StepFeedback, row: int, reason: str) -> None:
    k, accepted, now_s = int(seen.drafted[row]), int(seen.accepted[row]), time.time()
    notes.last_token_at_s = now_s
    notes.output_tokens += accepted + 1
    notes.context_tokens += accepted + 1
    notes.counts.update({"drafted": k, "verified": int(seen.verified[row]), "accepted": accepted})
    notes.k_steps[k] += 1
    notes.reasons[reason] += 1
    if k != notes.last_k and len(notes.changes) < CHANGES:
        notes.changes.append((now_s, k, reason))
    notes.last_k = k


def _whole(request_id: str, notes: Notes, policy: str) -> TracedRequest:
    now_s = time.time()
    return TracedRequest(
        request_id=request_id,
        traceparent=notes.traceparent,
        policy=policy,
        scheduled_at_s=notes.scheduled_at_s,
        first_token_at_s=notes.first_token_at_s or now_s,
        finished_at_s=notes.last_token_at_s or now_s,
        context_tokens=notes.context_tokens,
        output_tokens=max(notes.output_tokens, 1),
        drafted_tokens=notes.counts["drafted"],
        verified_tokens=notes.counts["verified"],
        accepted_tokens=notes.counts["accepted"],
        early_stops=notes.counts["early_stops"],
        catch_up_tokens=notes.counts["catch_up"],
        k_steps=dict(notes.k_steps),
        reasons=dict(notes.reasons),
        changes=tuple(notes.changes),
    )
