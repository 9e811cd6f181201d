"""K from a table of batch sizes."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import Self

from pydantic import Field, model_validator

from policies.api import PolicyContext, StepPlan, StepView
from policies.base import BasePolicy, Params, most_k


class ScheduleParams(Params):
    """vLLM's form (`ranges`) or TensorRT-LLM's (`up_to`)."""

    ranges: tuple[tuple[int, int, int], ...] = Field(
        default=(),
        description="[lowest batch, highest batch, K], rising; a gap, and what is beyond, keeps the K before it",
    )
    up_to: dict[int, int] = Field(default_factory=dict, description="highest batch -> K; beyond the last one K = 0")

    @model_validator(mode="after")
    def _one_table(self) -> Self:
        if self.ranges and self.up_to:
            raise ValueError("give either ranges or up_to, not both")
        edges = [edge for low, high, _ in self.ranges for edge in (low, high)] or list(self.up_to)
        lengths = [k for *_, k in self.ranges] or list(self.up_to.values())
        if any(edge < 1 for edge in edges) or any(not 0 <= k <= 64 for k in lengths):
            raise ValueError(f"batch sizes must be at least 1 and K in 0..64, got {self.ranges or self.up_to}")
        if any(a > b for a, b in pairwise(edges)) and self.ranges:
            raise ValueError(f"ranges must rise and not overlap, got {self.ranges}")
        return self

    def steps(self) -> list[tuple[int, int]]:
        """(first batch, K) from small to large."""
        if self.ranges:
            return [(low, k) for low, _, k in self.ranges]
        ends = sorted((self.up_to or {4: 5, 16: 3, 32: 1}).items())
        firsts = [1, *(high + 1 for high, _ in ends)]
        return list(zip(firsts, [k for _, k in ends] + [0], strict=True))


class Schedule(BasePolicy[ScheduleParams]):
    """K by the number of decode requests. The table is for the operator to measure: none fits every machine.

    Source: vLLM PR #32374 (`num_speculative_tokens_per_batch_size`), TensorRT-LLM `draft_len_schedule`. Prompt chunks
    do not count, as they do in vLLM's: a request that joins would flip K for a step.
    """

    name = "schedule"
    Params = ScheduleParams

    def __init__(self, params: ScheduleParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._first, self._k = zip(*params.steps(), strict=True)

    def plan(self, view: StepView) -> StepPlan:
        at = max(bisect_right(self._first, view.batch) - 1, 0)
        return StepPlan(k=most_k(view, self._k[at]), reason="schedule")
