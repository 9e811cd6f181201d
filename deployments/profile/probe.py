"""The policy an engine runs while it is measured: given lengths, everything that came of them kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from policies.api import (
    DraftBundle,
    Feature,
    FloatArray,
    PolicyContext,
    StepFeedback,
    StepPlan,
    StepView,
    VerifyPlan,
)
from policies.base import BasePolicy, Params, most_k
from policies.estimators.calibration import risk_set

PROBE = f"{__name__}:Probe"
COLUMNS = (
    "batch",
    "k",
    "verified_tokens",
    "accepted_tokens",
    "context_tokens",
    "prefill_tokens",
    "catch_up_tokens",
    "draft_s",
    "verify_s",
    "step_s",
    "draft_waited_s",
    "waited_s",
)
"""Of a row of `steps`: one engine step under the policy. `waited_s` of it, `draft_waited_s` while drafting, the worker
was ready to run and something else had its core."""
SCHEDSTAT = Path("/proc/thread-self/schedstat")  # nanoseconds run, nanoseconds waited for a core, time slices


class ProbeParams(Params):
    """The lengths to run through."""

    lengths: tuple[int, ...] = Field(min_length=1, description="K of successive steps, over and over")


class Probe(BasePolicy[ProbeParams]):
    """Records every step and every draft token that was put to the test; `explain` gives them out.

    It sees the draft's confidence (`top1`), so a step costs what it costs under the policies that use it.
    """

    name = "profile_probe"
    needs: frozenset[Feature] = frozenset({"top1"})
    Params = ProbeParams

    def __init__(self, params: ProbeParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._at = 0
        self._waited_s = self._draft_waited_s = 0.0  # at the last plan; since then, while drafting
        self._slots = np.arange(context.k_max)
        self._steps: list[tuple[float, ...]] = []
        self._tried: list[tuple[str, int, float, bool]] = []

    def plan(self, view: StepView) -> StepPlan:
        k = self.params.lengths[self._at % len(self.params.lengths)]
        self._at += 1
        self._waited_s, self._draft_waited_s = waited_s(), 0.0
        return StepPlan(k=most_k(view, k), reason="profile")

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        self._draft_waited_s = waited_s() - self._waited_s
        return VerifyPlan()

    def feedback(self, seen: StepFeedback) -> None:
        verified, accepted = int(seen.verified.sum()), int(seen.accepted.sum())
        shape = (seen.batch, seen.k, verified, accepted, seen.context_tokens, seen.prefill_tokens, seen.catch_up_tokens)
        waited = self._draft_waited_s, waited_s() - self._waited_s
        self._steps.append((*shape, seen.draft_s, seen.verify_s, seen.step_s, *waited))
        if seen.k:
            self._keep_slots(seen, seen.features["top1"])

    def explain(self) -> dict[str, Any]:
        return {"steps": self._steps, "tried": self._tried}

    def _keep_slots(self, seen: StepFeedback, top1: FloatArray) -> None:
        tried, accepted = risk_set(seen, self._slots[: seen.k])
        for row, slot in np.argwhere(tried).tolist():
            self._tried.append((seen.request_ids[row], slot, float(top1[row, slot]), bool(accepted[row, slot])))


def waited_s() -> float:
    """Seconds this thread has waited for a core so far; 0 where the system does not say."""
    return int(SCHEDSTAT.read_text().split()[1]) / 1e9 if SCHEDSTAT.exists() else 0.0
