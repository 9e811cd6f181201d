"""Time limits on policy hooks: a Python loop is interrupted, and the CPU time of every step's hooks is summed."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from policies.guard import Interrupted

T = TypeVar("T")
log = logging.getLogger(__name__)


class Watchdog:
    """Runs hooks under an interval timer (SIGALRM, so in the main thread only).

    The timer repeats until the hook returns: code that swallows the first interruption gets another.
    Time is the thread's CPU time: a busy machine must not look like a slow policy.
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
        started = time.thread_time()
        try:
            try:
                self._arm()
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

    def _arm(self) -> None:
        if self.can_interrupt:
            self._armed = True
            signal.setitimer(signal.ITIMER_REAL, self._hard_s, self._hard_s)

    def _disarm(self) -> None:
        if self.can_interrupt:
            self._armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _fire(self, signum: int, frame: FrameType | None) -> None:
        if self._armed:
            raise Interrupted
