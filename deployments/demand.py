"""What arrives at the doors, class by class, and how much of it attains: summed over every ingress."""

from __future__ import annotations

import math

from deployments.settings import MonitorConfig
from deployments.slo_status import ClassCount, ClassStatus, DoorReport
from policies.fleet.attainment import Share, worst
from policies.fleet.outlook import Arrivals, ahead, observed

TICK_S = 0.2  # arrivals are counted over at least this long
TREND_TICKS = 0.05  # of a replica's start: what comes together says nothing of the rate over such a time
SUMMED = ("arrived", "admitted", "shed", "finished", "attained", "waiting", "running")


class Demand:
    """Counts at the doors are cumulative, so a monitor that starts anew only misses what came while it was away."""

    def __init__(self, at_s: float) -> None:
        self.arrivals = Arrivals(at_s=at_s)
        self.trend = Arrivals(at_s=at_s)  # the same, with the memory that scaling needs
        self.shares: dict[str, Share] = {}
        self.prompt_tokens = 0.0  # mean of a request
        self._doors: dict[str, tuple[DoorReport, float]] = {}
        self._new = self._lately = 0  # arrivals not yet in `arrivals`, in `trend`
        self._shares_at_s = at_s

    def heard(self, report: DoorReport, at_s: float, memory_s: float) -> None:
        """A door's newest counts."""
        before = self._doors.get(report.door)
        self._doors[report.door] = report, at_s
        if before is None:
            return
        for name, now in report.classes.items():
            self._learn(name, before[0].classes.get(name, ClassCount(ttft_ms=None, tpot_ms=None)), now, at_s, memory_s)

    def tick(self, at_s: float, config: MonitorConfig) -> None:
        """Count arrivals; forget doors that are silent."""
        if at_s - self.arrivals.at_s >= TICK_S:
            self.arrivals, self._new = observed(self.arrivals, self._new, at_s, config.outlook), 0
        if at_s - self.trend.at_s >= max(TICK_S, TREND_TICKS * config.start_s):
            memory = ahead(config.outlook, config.start_s)
            self.trend, self._lately = observed(self.trend, self._lately, at_s, memory), 0
        oldest_s = at_s - config.forget_after_s
        self._doors = {name: door for name, door in self._doors.items() if door[1] >= oldest_s}
        self._age(at_s, config.attainment_memory_s)

    def attainment(self) -> dict[str, float]:
        """By class, of those of which something finished lately."""
        return {name: share.value for name, share in self.shares.items() if share.value is not None}

    def worst(self) -> float | None:
        return worst(self.shares)

    def waiting(self) -> int:
        return sum(count.waiting for report, _ in self._doors.values() for count in report.classes.values())

    def tightest_tpot_s(self) -> float:
        """Among the classes of which something finished lately; infinite without an objective."""
        counts = [item for report, _ in self._doors.values() for item in report.classes.items()]
        live = [c.tpot_ms for name, c in counts if self.shares.get(name, Share()).value is not None]
        return min((ms / 1e3 for ms in live if ms is not None), default=math.inf)

    def classes(self) -> dict[str, ClassStatus]:
        """Every class, summed over the doors."""
        summed: dict[str, ClassStatus] = {}
        for report, _ in self._doors.values():
            for name, count in report.classes.items():
                of = summed.get(name)
                sums = {what: getattr(count, what) + (getattr(of, what) if of else 0) for what in SUMMED}
                share = self.shares.get(name, Share()).value
                summed[name] = ClassStatus(ttft_ms=count.ttft_ms, tpot_ms=count.tpot_ms, attainment=share, **sums)
        return summed

    def _learn(self, name: str, before: ClassCount, now: ClassCount, at_s: float, memory_s: float) -> None:
        came = max(0, now.arrived - before.arrived)
        self._new += came
        self._lately += came
        if came:
            mean = (now.prompt_tokens - before.prompt_tokens) / came
            self.prompt_tokens += 0.1 * (mean - self.prompt_tokens)
        self._age(at_s, memory_s)
        done, met = max(0, now.finished - before.finished), max(0, now.attained - before.attained)
        self.shares[name] = self.shares.get(name, Share()).later(0.0, memory_s, done, met)

    def _age(self, at_s: float, memory_s: float) -> None:
        dt_s, self._shares_at_s = at_s - self._shares_at_s, at_s
        self.shares = {name: share.later(dt_s, memory_s) for name, share in self.shares.items()}
