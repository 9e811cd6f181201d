from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.unit.policies.worlds import make, make_view, run_step

pytestmark = pytest.mark.unit


def play(policy: Any, steps: int, accepted: int, batch: int = 1) -> int:
    """The last step's K."""
    k = -1
    for _ in range(steps):
        k = run_step(policy, make_view(batch), np.zeros((batch, 8)), np.full(batch, accepted)).k
    return k


@pytest.mark.parametrize(("accepted", "tier"), [(8, 7), (4, 5), (2, 3), (0, 1)])
def test_settles_near_the_mean_accepted_length_plus_one(accepted: int, tier: int) -> None:
    assert play(make("ema_tiers"), 100, accepted) == tier


def test_tiers_follow_the_batch() -> None:
    policy = make("ema_tiers")
    assert play(policy, 50, 8) == 7
    assert play(policy, 1, 8, batch=8) == 3
    assert play(policy, 1, 8, batch=40) == 1
    assert play(policy, 100, 8, batch=64) == 0


def test_zero_is_left_by_climbing_a_tier_now_and_then() -> None:
    policy = make("ema_tiers")
    play(policy, 60, 0, batch=8)
    seen = {run_step(policy, make_view(8), np.zeros((8, 8)), np.zeros(8)).k for _ in range(20)}
    assert seen == {0, 1}
    assert play(policy, 60, 8, batch=8) == 3


def test_hysteresis_keeps_a_mean_on_the_edge_from_flipping() -> None:
    policy = make("ema_tiers", up=0.25)
    play(policy, 60, 4)
    rng = np.random.default_rng(0)
    ks = [run_step(policy, make_view(4), np.zeros((4, 8)), rng.integers(4, 6, 4)).k for _ in range(200)]
    assert sum(a != b for a, b in pairwise(ks)) <= 2
