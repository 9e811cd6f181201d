import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def own_alarm_handler() -> Iterator[None]:
    """A watchdog takes SIGALRM over; the next test gets back what was there."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
