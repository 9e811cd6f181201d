from types import SimpleNamespace
from typing import Any

import pytest
from vllm.v1.core.sched.scheduler import Scheduler

from deployments.engine.executor import AdaptiveExecutor, check_scheduler
from deployments.engine.scheduler import LOOK_AT, AdaptiveScheduler, QueueState
from deployments.engine.worker import rides


def request(tokens: int = 10, computed: int = 0, *, grammar: bool = False) -> Any:
    return SimpleNamespace(num_tokens=tokens, num_computed_tokens=computed, use_structured_output=grammar)


def queue_state(waiting: list[Any], scheduled: dict[str, Any]) -> QueueState:
    scheduler: Any = SimpleNamespace(
        waiting=waiting,
        requests=scheduled,
        max_num_scheduled_tokens=256,
        kv_cache_manager=SimpleNamespace(usage=0.75),
    )
    output: Any = SimpleNamespace(num_scheduled_tokens=dict.fromkeys(scheduled, 1))
    return AdaptiveScheduler._queue_state(scheduler, output)


def test_the_queue_state_is_what_waits_and_what_is_free() -> None:
    state = queue_state([request(10), request(8, computed=3)], {"a": request()})
    assert state == QueueState(
        waiting=2, waiting_prefill_tokens=15, token_budget=256, free_kv_fraction=0.25, grammar=False
    )


def test_a_long_queue_is_counted_in_full_and_summed_in_part() -> None:
    state = queue_state([request(1)] * (LOOK_AT + 10), {})
    assert (state.waiting, state.waiting_prefill_tokens) == (LOOK_AT + 10, LOOK_AT)


def test_only_a_scheduled_request_with_a_grammar_needs_the_bitmask() -> None:
    assert not queue_state([request(grammar=True)], {"a": request()}).grammar
    assert queue_state([], {"a": request(), "b": request(grammar=True)}).grammar


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
