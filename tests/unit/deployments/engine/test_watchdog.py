import contextlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import pytest

from deployments.engine.watchdog import Watchdog
from policies.guard import Interrupted
from tests.unit.deployments.engine.own_policies import loop

HARD_S = 0.02


def endless() -> None:
    while True:
        pass


def deaf_to_exceptions() -> None:
    while True:
        with contextlib.suppress(Exception):
            endless()


def deaf_once() -> None:
    with contextlib.suppress(BaseException):
        endless()
    endless()


@pytest.mark.parametrize("hook", [endless, deaf_to_exceptions, deaf_once])
def test_an_endless_loop_is_interrupted(hook: Callable[[], None]) -> None:
    with pytest.raises(Interrupted):
        Watchdog(HARD_S).run(hook)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_after_an_interruption_the_next_hook_runs() -> None:
    watchdog = Watchdog(60.0)
    with pytest.raises(Interrupted):
        watchdog.run(loop)
    assert watchdog.run(lambda: 7) == 7


def fails() -> None:
    raise KeyError("a policy's own")


def test_a_hooks_own_error_passes_and_disarms() -> None:
    watchdog = Watchdog(60.0)
    with pytest.raises(KeyError):
        watchdog.run(fails)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    signal.raise_signal(signal.SIGALRM)


def test_an_alarm_after_the_hook_has_returned_is_ignored() -> None:
    watchdog = Watchdog(60.0)
    assert watchdog.run(lambda: signal.getitimer(signal.ITIMER_REAL)[0]) > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    signal.raise_signal(signal.SIGALRM)  # one that was already on its way


def test_the_alarm_is_live_while_a_hook_runs() -> None:
    with pytest.raises(Interrupted):
        Watchdog(60.0).run(lambda: signal.raise_signal(signal.SIGALRM))


def test_the_limit_is_of_wall_time_and_may_be_another_for_one_call() -> None:
    watchdog = Watchdog(60.0)
    with pytest.raises(Interrupted):
        watchdog.run_within(HARD_S, threading.Event().wait)  # a hook that waits uses no CPU time at all
    assert watchdog.run_within(7.0, lambda: signal.getitimer(signal.ITIMER_REAL)[1]) == 7.0
    assert watchdog.run(lambda: signal.getitimer(signal.ITIMER_REAL)[1]) == 60.0


def ended(hook: Callable[[], object]) -> BaseException:
    """What leaves the watchdog."""
    try:
        Watchdog(60.0).run(hook)
    except BaseException as error:  # noqa: BLE001 - that is the question
        return error
    raise AssertionError("nothing was raised")


def test_an_exit_of_the_policys_own_is_told_from_the_processs() -> None:
    def end(signum: int, frame: FrameType | None) -> None:
        raise SystemExit

    before = signal.signal(signal.SIGTERM, end)
    try:
        told, own = ended(lambda: signal.raise_signal(signal.SIGTERM)), ended(sys.exit)
        outside = [Watchdog.came_from_outside(error) for error in (told, own)]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert isinstance(told, SystemExit)
    assert isinstance(own, SystemExit)
    assert outside == [True, False]


def test_ctrl_c_comes_from_outside() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        assert Watchdog.came_from_outside(ended(lambda: signal.raise_signal(signal.SIGINT)))
    finally:
        signal.signal(signal.SIGINT, before)


class Clock:
    """CPU seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def spend(self, seconds: float) -> None:
        self.now_s += seconds


def test_the_cpu_time_of_a_steps_hooks_is_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "thread_time", clock)
    watchdog = Watchdog(60.0)
    watchdog.run(lambda: clock.spend(1.0))
    clock.spend(100.0)  # the engine's own work between hooks
    watchdog.run(lambda: clock.spend(0.5))
    assert watchdog.take_step_s() == 1.5
    assert watchdog.take_step_s() == 0.0
    watchdog.run(lambda: clock.spend(2.0))
    assert (watchdog.take_step_s(), watchdog.total_s) == (2.0, 3.5)


def test_the_time_of_a_hook_that_fails_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "thread_time", clock)
    watchdog = Watchdog(60.0)

    def spends_and_fails() -> None:
        clock.spend(3.0)
        fails()

    with pytest.raises(KeyError):
        watchdog.run(spends_and_fails)
    assert watchdog.take_step_s() == 3.0


def test_outside_the_main_thread_there_is_only_the_soft_limit(caplog: pytest.LogCaptureFixture) -> None:
    before = signal.getsignal(signal.SIGALRM)
    seen: dict[str, object] = {}

    def elsewhere() -> None:
        watchdog = Watchdog(HARD_S)
        seen["answer"] = watchdog.run(lambda: sum(range(100_000)))
        seen["timer"] = watchdog.run(lambda: signal.getitimer(signal.ITIMER_REAL))
        seen["can_interrupt"], seen["spent"] = watchdog.can_interrupt, watchdog.take_step_s() > 0

    with caplog.at_level(logging.WARNING):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert seen == {"answer": 4999950000, "timer": (0.0, 0.0), "can_interrupt": False, "spent": True}
    assert signal.getsignal(signal.SIGALRM) is before
    assert "only the soft one" in caplog.text
