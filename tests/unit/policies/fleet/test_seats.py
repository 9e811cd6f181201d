import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from policies.fleet.seats import open_seats


def test_others_leave_a_reservation_free_until_its_class_has_filled_it() -> None:
    seats, reserved = np.array([8.0, 8.0]), np.array([3.0, 0.0])  # class 0 has three
    running = np.array([[0.0, 0.0], [2.0, 5.0]])
    assert open_seats(seats, reserved, running, of=1).tolist() == [5, 7]
    assert open_seats(seats, reserved, running, of=0).tolist() == [8, 8]


COUNTS = st.floats(0, 64)


@given(arrays(float, 3, elements=COUNTS), arrays(float, 2, elements=COUNTS), arrays(float, (3, 2), elements=COUNTS))
def test_open_seats_are_never_more_than_there_are_and_never_none(
    seats: np.ndarray, reserved: np.ndarray, running: np.ndarray
) -> None:
    for of in (0, 1):
        found = open_seats(seats, reserved, running, of)
        assert (found >= 1).all()
        assert (found <= np.maximum(seats, 1)).all()
        assert (open_seats(seats, reserved, running + 1, of) >= found).all()
