from __future__ import annotations

import numpy as np
import pytest

from tests.unit.policies.worlds import linear_models, make, make_view, run_step

pytestmark = pytest.mark.unit


def lengths(confidence: list[list[float]], least_k: int = 2) -> list[int]:
    rows = np.array(confidence)
    view = make_view(len(rows))
    found: list[int] = run_step(make("specdec_pp", linear_models(), least_k=least_k), view, rows).lengths.tolist()
    return found


def test_a_chain_stops_after_the_slot_that_makes_a_rejection_likely() -> None:
    # survivals .9, .81, .73, .66: the fourth is the first with 1 - s > .3, and is kept
    assert lengths([[0.9] * 8, [0.99] * 8], least_k=0) == [4, 8]


def test_no_chain_stops_before_the_least_length() -> None:
    assert lengths([[0.1] * 8], least_k=3) == [3]


def test_the_batch_stops_with_its_last_chain() -> None:
    confidence = np.array([[0.1] * 8, [0.9] * 8])
    assert run_step(make("specdec_pp", linear_models()), make_view(2), confidence).k == 4
