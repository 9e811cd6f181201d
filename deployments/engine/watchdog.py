"""Time limits on what a policy does: a loop is interrupted after a wall time, a step's CPU time is summed."""

from __future__ import annotations

import logging
import signal
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from policies.guard import Interrupted

T = TypeVar("T")
log = logging.getLogger(__name__)


class Watchdog:
    """Runs hooks under an interval timer (SIGALRM, so in the main thread only).

    The timer runs on wall time: a hook that sleeps or waits holds the step up as much as one that computes. It repeats
    until the hook returns: code that swallows the first interruption gets another. Sums are of the thread's CPU time:
    on a busy machine a policy must not look slow.
    A loop inside C code is not interrupted; that is a hung worker, found by a step-progress health check.
    """

    def __init__(self, hard_s: float) -> None:
        self._hard_s = hard_s
        self._armed = False
        self.step_s = 0.0  # hooks of the current step
        self.total_s = 0.0
        self.can_interrupt = threading.current_thread() is threading.main_thread()
        if self.can_interrupt:
            signal.signal(signal.SIGALRM, self._fire)
        else:
            log.warning("adaspec: policy hooks run outside the main thread: no hard time limit, only the soft one")

    def run(self, hook: Callable[[], T]) -> T:
        """The hook's answer. Raises Interrupted where it ran into the time limit."""
        return self.run_within(self._hard_s, hook)

    def run_within(self, limit_s: float, hook: Callable[[], T]) -> T:
        """`run` with another limit: building a policy may take longer than asking one."""
        started = time.thread_time()
        try:
            try:
                self._arm(limit_s)
                return hook()
            finally:
                self._disarm()
        except Interrupted:
            self._disarm()  # the timer may have fired inside the first disarm
            raise
        finally:
            self.step_s += time.thread_time() - started

    def take_step_s(self) -> float:
        """Seconds the hooks of the step took; starts the next step's sum."""
        spent, self.step_s = self.step_s, 0.0
        self.total_s += spent
        return spent

    @staticmethod
    def came_from_outside(error: BaseException) -> bool:
        """Whether a hook was left because the process is told to stop, not by the policy's own doing.

        vLLM's handler of SIGTERM raises SystemExit wherever the process happens to be; a policy may raise it too.
        """
        if isinstance(error, KeyboardInterrupt):
            return True
        *_, (last, _) = traceback.walk_tb(error.__traceback__)
        handlers = (signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT))
        return last.f_code in {getattr(handler, "__code__", None) for handler in handlers}

    def _arm(self, limit_s: float) -> None:
        if self.can_interrupt:
            self._armed = True
            signal.setitimer(signal.ITIMER_REAL, limit_s, limit_s)

    def _disarm(self) -> None:
        if self.can_interrupt:
            self._armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _fire(self, signum: int, frame: FrameType | None) -> None:
        if self._armed:
            raise Interrupted
