"""Seats kept free for a class: nobody else sits there, until as many of its own requests run."""

from __future__ import annotations

import numpy as np

from policies.fleet.views import FloatArray


def open_seats(seats: FloatArray, reserved: FloatArray, running: FloatArray, of: int) -> FloatArray:
    """[R] seats that count for class `of`: all but what the other classes' reservations still need, at least one.

    `seats` [R], `reserved` [C] per replica, `running` [R, C] requests there now.
    """
    still = np.maximum(reserved - running, 0.0)
    still[:, of] = 0.0
    open_now: FloatArray = np.maximum(seats - still.sum(axis=1), 1.0)
    return open_now
