"""What happened: times per request, counts per replica, K over time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from loadgen.sim.workload import IntArray, Workload
from policies.api import StepFeedback


class Record:
    """Times of every request, nan until they come, and running sums for the monitor."""

    def __init__(self, work: Workload, classes: int) -> None:
        n = len(work)
        self._work = work
        self.first_s = np.full(n, np.nan)
        self.finish_s = np.full(n, np.nan)
        self.shed = np.zeros(n, np.bool_)
        self.preempted = np.zeros(n, np.int64)
        self.attained = np.zeros(n, np.bool_)
        self.left = n
        self.residence_s = 0.0  # summed over finished requests
        self.finished_by_class = np.zeros(classes)
        self.attained_by_class = np.zeros(classes)

    def finish(self, requests: IntArray, now: float) -> None:
        work = self._work
        self.finish_s[requests] = now
        ttft_s = self.first_s[requests] - work.arrival_s[requests]
        tpot_s = (now - self.first_s[requests]) / np.maximum(work.output_tokens[requests] - 1, 1)
        met = (ttft_s <= work.ttft_slo_s[requests]) & (tpot_s <= work.tpot_slo_s[requests])
        self.attained[requests] = met
        self.left -= len(requests)
        self.residence_s += float((now - work.arrival_s[requests]).sum())
        np.add.at(self.finished_by_class, work.slo_class[requests], 1)
        np.add.at(self.attained_by_class, work.slo_class[requests], met)

    def refuse(self, request: int) -> None:
        self.shed[request] = True
        self.left -= 1


@dataclass(slots=True)
class Tally:
    """One replica's counters."""

    bucket_s: float
    steps: int = 0
    request_steps: int = 0
    emitted_tokens: int = 0
    drafted_tokens: int = 0
    verified_tokens: int = 0
    accepted_tokens: int = 0
    catch_up_tokens: int = 0
    switches: int = 0
    step_s: float = 0.0  # summed
    k_last: int = 0
    k_steps: Counter[int] = field(default_factory=Counter)
    time: dict[int, list[float]] = field(default_factory=dict)  # bucket -> seconds, K x seconds, batch x seconds

    def add(self, now: float, seen: StepFeedback) -> None:
        batch, k = seen.batch, seen.k
        self.steps += 1
        self.request_steps += batch
        self.emitted_tokens += batch
        self.step_s += seen.step_s
        self.k_steps[k] += 1
        if k:
            self._speculated(seen)
        if k != self.k_last:
            self.switches += 1
            self.k_last = k
        bucket = self.time.setdefault(int(now / self.bucket_s), [0.0, 0.0, 0.0])
        bucket[0] += seen.step_s
        bucket[1] += k * seen.step_s
        bucket[2] += batch * seen.step_s

    def _speculated(self, seen: StepFeedback) -> None:
        accepted = int(seen.accepted.sum())
        self.emitted_tokens += accepted
        self.accepted_tokens += accepted
        self.drafted_tokens += int(seen.drafted.sum())
        self.verified_tokens += int(seen.verified.sum())
        self.catch_up_tokens += seen.catch_up_tokens
