"""A cost model kept true by what steps really take."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import replace
from math import copysign, exp, inf, log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from policies.api import FloatArray, StepFeedback
from policies.estimators.calibration import Ageing
from policies.models import CostModel, StepLoad

REGIONS = (4, 16)
"""Batch sizes: up to 4, 5-16, over 16."""
OWN = 0.15
"""Logs of time: a ratio nearer 1 is as likely the base's own error, and is left to the base to mend."""


class HybridCost:
    """base prediction x running measured/predicted ratio of the batch's region.

    The ratio moves by at most `rate * clip` (in logs) a step, so one stalled step changes little and a machine that
    slows down twofold is learned in some twenty steps; the first steps count fully. A base that learns is shown times
    divided by what of the ratio is beyond `OWN`: it keeps the shapes, the ratio the level, so shapes not seen since a
    slowdown stay in proportion. What lasts leaks from the ratio into the base. Within `OWN` the base is shown what was
    measured: loads come in spells, so the ratio would follow every error of shape, and the base never see it.
    """

    def __init__(self, base: CostModel, rate: float = 0.15, clip: float = 0.5, leak: float = 0.002) -> None:
        self.base, self._rate, self._clip, self._leak = base, rate, clip, leak
        self._log_ratio = [0.0] * (len(REGIONS) + 1)
        self._count = [0] * (len(REGIONS) + 1)
        self._error = Ageing(0.98)

    def step_s(self, load: StepLoad, k: ArrayLike, verify_tokens: ArrayLike) -> FloatArray:
        ratio = exp(self._log_ratio[bisect_left(REGIONS, load.batch)])
        return np.asarray(self.base.step_s(load, k, verify_tokens) * ratio)

    def observe(self, seen: StepFeedback) -> None:
        if seen.idle or not seen.batch or not 0 < seen.step_s < inf:
            return
        region = bisect_left(REGIONS, seen.batch)
        self.base.observe(_slowed(seen, exp(-_beyond(self._log_ratio[region]))))
        load = StepLoad(seen.batch, seen.context_tokens, seen.prefill_tokens, seen.catch_up_tokens)
        predicted = float(self.base.step_s(load, seen.k, int(np.add.reduce(seen.verified))))
        if predicted > 0:
            self._learn(region, log(seen.step_s / predicted))

    def _learn(self, region: int, log_ratio: float) -> None:
        off = log_ratio - self._log_ratio[region]
        self._error.add(abs(off))
        self._count[region] += 1
        first = self._count[region] <= 3
        rate = 1.0 / self._count[region] if first else self._rate
        self._log_ratio[region] += rate * (off if first else min(max(off, -self._clip), self._clip))
        self._log_ratio[region] *= 1.0 - self._leak

    def snapshot(self) -> dict[str, Any]:
        return {"base": self.base.snapshot(), "log_ratio": list(self._log_ratio), "count": list(self._count)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.base.restore(state["base"])
        self._log_ratio, self._count = list(state["log_ratio"]), list(state["count"])

    def explain(self) -> dict[str, Any]:
        names = [f"batch<={most}" for most in REGIONS] + [f"batch>{REGIONS[-1]}"]
        ratios = {name: round(exp(value), 4) for name, value in zip(names, self._log_ratio, strict=True)}
        error = {"mean_relative_error": round(self._error.mean, 4)}
        return {"kind": "hybrid", "measured_over_predicted": ratios, **error, "base": self.base.explain()}


def _beyond(log_ratio: float) -> float:
    return copysign(max(abs(log_ratio) - OWN, 0.0), log_ratio)


def _slowed(seen: StepFeedback, factor: float) -> StepFeedback:
    """The step on a machine `factor` times as slow."""
    if abs(factor - 1.0) < 1e-3:
        return seen
    return replace(seen, draft_s=factor * seen.draft_s, verify_s=factor * seen.verify_s, step_s=factor * seen.step_s)
