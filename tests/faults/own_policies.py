"""Policies that do everything wrong that an engine must survive, one each."""

from __future__ import annotations

import sys
import time

from policies.api import StepView

LATE_S = 0.02
"""Above the 2 ms or tenth of a step that its hooks may take, far below the 200 ms after which they are interrupted."""


def raises(view: StepView) -> int:
    raise ArithmeticError("planted")


def overruns(view: StepView) -> int:
    until_s = time.thread_time() + LATE_S
    while time.thread_time() < until_s:
        pass
    return 2


def loops(view: StepView) -> int:
    while True:
        pass


def nan(view: StepView) -> float:
    return float("nan")


def negative(view: StepView) -> int:
    return -1


def huge(view: StepView) -> int:
    return 10**9


def exits(view: StepView) -> int:
    sys.exit("planted")


COUNTED: dict[str, str] = {
    "raises": "raised",
    "overruns": "overrun",
    "loops": "interrupted",
    "nan": "impossible",
    "negative": "impossible",
    "huge": "clamped",
    "exits": "raised",
}
"""Each policy, and as what the service counts what it does."""
