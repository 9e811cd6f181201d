"""Whether who asks has been told to end."""

from __future__ import annotations

import asyncio


def cancelled() -> bool:
    """For a loop that lasts: what it awaits may turn its cancellation into another error, which the loop outlives.

    A Serve handle does, cancelled along with its caller (`RequestCancelledError`), and `asyncio.wait_for` of Python
    3.11 loses one that meets the answer.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
