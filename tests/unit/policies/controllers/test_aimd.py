from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.unit.policies.worlds import make, make_view, run_step

pytestmark = pytest.mark.unit


def play(policy: Any, steps: int, *, accepted: int, batch: int = 4) -> list[int]:
    """K of each step when `accepted` drafts per request are."""
    return [run_step(policy, make_view(batch), np.zeros((batch, 8)), np.full(batch, accepted)).k for _ in range(steps)]


def test_grows_by_one_per_window_while_all_is_accepted() -> None:
    assert play(make("aimd", start_k=2, window_steps=2, k=4), 7, accepted=8) == [2, 2, 3, 3, 4, 4, 4]


def test_halves_down_to_plain_decoding_and_comes_back_by_a_probe() -> None:
    policy = make("aimd", start_k=4, window_steps=2, probe_every=3)
    assert play(policy, 10, accepted=0) == [4, 4, 2, 2, 1, 1, 0, 0, 0, 1]
    assert play(policy, 5, accepted=0) == [0, 0, 0, 1, 0]
    assert play(policy, 3, accepted=8) == [0, 0, 1]
    assert play(policy, 5, accepted=8) == [1, 1, 2, 2, 3]


def test_stays_between_the_thresholds() -> None:
    policy = make("aimd", start_k=3, window_steps=2, grow_above=0.8, shrink_below=0.4)
    assert set(play(policy, 20, accepted=2)) == {3}  # two of three accepted, then a rejection: .67


def test_hugging_face_preset() -> None:
    policy = make("aimd", preset="hf", start_k=3, k=8)
    assert play(policy, 4, accepted=8, batch=1) == [3, 5, 7, 8]
    assert play(policy, 9, accepted=0, batch=1) == [8, 7, 6, 5, 4, 3, 2, 1, 1]


def test_steps_without_verified_drafts_are_not_judged() -> None:
    policy = make("aimd", start_k=3, window_steps=1)
    full = make_view(4, k_limit=np.zeros(4, np.int64))
    for _ in range(5):
        run_step(policy, full, np.zeros((4, 8)))
    assert policy.k == 3
