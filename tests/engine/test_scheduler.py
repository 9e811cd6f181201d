from types import SimpleNamespace
from typing import Any

import pytest
from vllm.v1.core.sched.scheduler import Scheduler

from deployments.engine.executor import AdaptiveExecutor, check_scheduler
from deployments.engine.scheduler import LOOK_AT, AdaptiveScheduler, QueueState
from deployments.engine.worker import rides


def request(tokens: int = 10, computed: int = 0) -> Any:
    return SimpleNamespace(num_tokens=tokens, num_computed_tokens=computed)


def queue_state(waiting: list[Any]) -> QueueState:
    scheduler: Any = SimpleNamespace(
        waiting=waiting,
        max_num_scheduled_tokens=256,
        kv_cache_manager=SimpleNamespace(usage=0.75),
    )
    return AdaptiveScheduler._queue_state(scheduler)


def test_the_queue_state_is_what_waits_and_what_is_free() -> None:
    state = queue_state([request(10), request(8, computed=3)])
    assert state == QueueState(waiting=2, waiting_prefill_tokens=15, token_budget=256, free_kv_fraction=0.25)


def test_a_long_queue_is_counted_in_full_and_summed_in_part() -> None:
    state = queue_state([request(1)] * (LOOK_AT + 10))
    assert (state.waiting, state.waiting_prefill_tokens) == (LOOK_AT + 10, LOOK_AT)


def with_scheduler(scheduler: type[Any]) -> Any:
    return SimpleNamespace(scheduler_config=SimpleNamespace(get_scheduler_cls=lambda: scheduler))


def test_the_executor_wants_the_scheduler_that_takes_its_drafts() -> None:
    class Mine(AdaptiveScheduler):
        pass

    check_scheduler(with_scheduler(AdaptiveScheduler))
    check_scheduler(with_scheduler(Mine))
    with pytest.raises(ValueError, match="not 'Scheduler'"):
        check_scheduler(with_scheduler(Scheduler))


@pytest.mark.parametrize(
    ("executor", "expected"),
    [
        (AdaptiveExecutor, True),
        ("deployments.engine.executor.AdaptiveExecutor", True),
        ("mp", False),
        ("uni", False),
        (None, False),
    ],
)
def test_drafts_ride_on_the_reply_only_of_the_executor_that_unloads_them(executor: Any, expected: bool) -> None:
    config: Any = SimpleNamespace(parallel_config=SimpleNamespace(distributed_executor_backend=executor))
    assert rides(config) is expected
