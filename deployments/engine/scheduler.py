"""A synchronous vLLM scheduler that tells the worker what only the scheduler knows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler

RIDER = "adaspec"  # attribute on SchedulerOutput and on ModelRunnerOutput; both are pickled whole
LOOK_AT = 128  # waiting requests summed a step: beyond that many, the exact backlog changes no decision


@dataclass(frozen=True, slots=True)
class QueueState:
    """Rides on every SchedulerOutput."""

    waiting: int
    waiting_prefill_tokens: int
    token_budget: int
    free_kv_fraction: float


class AdaptiveScheduler(Scheduler):
    """Stock scheduling, plus the queue's state out and, with `AdaptiveExecutor`, the drafts in."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dynamic_sd_lookup: list[int] | None
        if self.num_spec_tokens and self.dynamic_sd_lookup is None:
            # Without a lookup vLLM pads one-token admissions with Kmax placeholder drafts that no policy asked for.
            self.dynamic_sd_lookup = [self.num_spec_tokens] * (self.scheduler_config.max_num_seqs + 1)

    def schedule(self, *args: Any, **kwargs: Any) -> SchedulerOutput:
        output = super().schedule(*args, **kwargs)
        setattr(output, RIDER, self._queue_state())
        return output

    def update_from_output(self, scheduler_output: SchedulerOutput, model_runner_output: Any) -> Any:
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        drafts = getattr(model_runner_output, RIDER, None)
        if drafts is not None:
            self.update_draft_token_ids(drafts)
        return outputs

    def _queue_state(self) -> QueueState:
        return QueueState(
            waiting=len(self.waiting),
            waiting_prefill_tokens=sum(r.num_tokens - r.num_computed_tokens for r in islice(self.waiting, LOOK_AT)),
            token_budget=self.max_num_scheduled_tokens,
            free_kv_fraction=1.0 - self.kv_cache_manager.usage,
        )
