"""Whether an engine that holds requests still makes steps. One that is stopped or locked up dies of nothing."""

from __future__ import annotations

import time


class Progress:
    """Fed with what the engine answers, it knows for how long nothing has moved."""

    def __init__(self) -> None:
        self._steps = 0
        self.moved_s = time.monotonic()

    def answered(self, steps: int, held: int) -> None:
        """So many steps since its start, so many requests not finished.

        An engine that has made no step at all does not count them: that it answers has to do.
        """
        if not held or not steps or steps != self._steps:
            self.moved_s = time.monotonic()
        self._steps = steps

    def still_s(self) -> float:
        """Seconds without an answer, or without a step while it held requests."""
        return time.monotonic() - self.moved_s
