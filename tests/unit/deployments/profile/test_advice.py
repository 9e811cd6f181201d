from __future__ import annotations

import pytest
import yaml

from deployments.profile.advice import by_batch, expected_tokens, policy_block
from policies.controllers.schedule import ScheduleParams
from policies.estimators.cost import LinearCoefficients, LinearCost

COST = LinearCost(LinearCoefficients(target_gamma_s=2e-4, target_delta_s=5e-3))
SIZES = [1, 2, 4, 8, 16, 32, 64, 128]


def test_expected_tokens_by_hand() -> None:
    assert expected_tokens([0.5, 0.5]).tolist() == [1.0, 1.5, 1.75]


def test_break_even_rises_and_the_best_length_falls_with_the_batch() -> None:
    rows = by_batch(COST, [0.8] * 5, 200, SIZES)
    even = [row["break_even_acceptance"] for row in rows]
    lengths = [row["best_k"] for row in rows]
    assert even == sorted(even)
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1]


def test_at_the_break_even_acceptance_speculation_gains_nothing() -> None:
    (row,) = by_batch(COST, [0.8] * 5, 200, [8])
    alpha = row["break_even_acceptance"]
    below, above = (by_batch(COST, [alpha * f] * 5, 200, [8])[0] for f in (0.99, 1.01))
    assert (below["best_k"], below["gain"]) == (0, 0.0)
    assert 0 < above["gain"] < 0.02


def test_where_drafting_costs_more_than_it_can_bring_nothing_breaks_even() -> None:
    dear = LinearCost(LinearCoefficients(draft_delta_s=1.0))
    (row,) = by_batch(dear, [1.0] * 5, 200, [1])
    assert (row["break_even_acceptance"], row["best_k"]) == (None, 0)


def test_the_block_is_yaml_that_the_policies_accept() -> None:
    rows = by_batch(COST, [0.8] * 5, 200, SIZES)
    block = policy_block(rows, "p.json").split("# or")
    assert yaml.safe_load(block[0]) == {"profile": "p.json", "policy": {"name": "slo_goodput", "params": {}}}
    table = yaml.safe_load("#" + block[1])["policy"]["params"]
    steps = dict(ScheduleParams.model_validate(table).steps())
    assert steps[1] == rows[0]["best_k"]
    assert pytest.approx(max(ScheduleParams.model_validate(table).up_to)) == 128
