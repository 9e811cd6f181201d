from __future__ import annotations

import numpy as np
import pytest

from tests.unit.policies.worlds import accept, make, make_view, run_step

pytestmark = pytest.mark.unit


def test_mean_rule_keeps_the_slot_that_fell_below() -> None:
    falling = np.tile([0.9, 0.8, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9], (4, 1))
    step = run_step(make("confidence", threshold=0.6), make_view(4), falling)
    assert step.k == 3
    assert step.lengths.tolist() == [3, 3, 3, 3]


def test_chain_rule_stops_each_request_by_itself() -> None:
    confidence = np.array([[0.9, 0.9, 0.9, 0.1] + [0.9] * 4, [0.9, 0.2] + [0.9] * 6, [0.1] * 8])
    step = run_step(make("confidence", threshold=0.6, rule="chain"), make_view(3), confidence)
    assert step.k == 4  # the last chain alive fell at its fourth slot
    assert step.lengths.tolist() == [3, 1, 0]


def test_never_more_than_k() -> None:
    step = run_step(make("confidence", k=2), make_view(2), np.ones((2, 8)))
    assert step.k == 2


def test_tuning_finds_the_threshold_that_separates() -> None:
    rng = np.random.default_rng(0)
    policy = make("confidence", threshold=0.0, tune=True)
    for _ in range(100):
        confidence = rng.choice([0.22, 0.92], (8, 8))
        chances = np.where(confidence > 0.5, 0.98, 0.02)
        run_step(policy, make_view(8), confidence, accept(rng, chances, 8))
    assert 0.22 < policy.threshold < 0.92


def test_without_tuning_the_threshold_stays() -> None:
    policy = make("confidence", threshold=0.6)
    run_step(policy, make_view(2), np.ones((2, 8)), np.zeros(2))
    assert policy.threshold == 0.6
