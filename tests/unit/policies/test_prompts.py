from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from policies.estimators.table import Profile, TableCost
from policies.models import StepLoad
from policies.prompts import Prompts
from tests.unit.policies.worlds import feedback_of, linear_models, make_view

pytestmark = pytest.mark.unit

LOAD = StepLoad(32, 3200)
KS, VERIFIED = np.arange(5), 32.0 * np.arange(5)
# 10 ms up to 100 tokens, 0.1 ms for each beyond; a draft pass costs 1 ms
ROOFLINE = TableCost(Profile(tokens=(1, 100, 1000), verify_s=(0.01, 0.01, 0.1), batch=(1, 100), draft_s=(0.001, 0.001)))


def seen_with(*prefill_tokens: int, step_s: float = 0.04) -> Prompts:
    prompts = Prompts()
    step = feedback_of(make_view(32), 0, np.zeros(32), np.zeros(32), step_s=step_s)
    for tokens in prefill_tokens:
        prompts.observe(replace(step, prefill_tokens=tokens))
    return prompts


def test_without_prompts_a_step_costs_what_the_model_says() -> None:
    assert seen_with(0, 0).step_s(ROOFLINE, LOAD, KS, VERIFIED) == pytest.approx(ROOFLINE.step_s(LOAD, KS, VERIFIED))


def test_the_share_of_steps_with_prompts_is_consistent_with_the_time() -> None:
    prompts = seen_with(*[200] * 100)
    alone_s = ROOFLINE.step_s(LOAD, KS, VERIFIED)
    beside_s = ROOFLINE.step_s(LOAD, KS, VERIFIED + 200)
    found = prompts.step_s(ROOFLINE, LOAD, KS, VERIFIED)
    share = found / 0.04  # one load of prompts every 40 ms
    assert found == pytest.approx((1 - share) * alone_s + share * beside_s)


def test_where_every_token_costs_prompts_change_no_choice() -> None:
    cost = linear_models().cost
    found = seen_with(*[0, 100] * 50).step_s(cost, LOAD, KS, VERIFIED)
    proportion = found / cost.step_s(LOAD, KS, VERIFIED)
    assert proportion == pytest.approx(np.full(5, proportion[0]))
    assert proportion[0] > 1


def test_prompts_that_fill_the_pass_make_verifying_dear() -> None:
    def relative(prompts: Prompts) -> float:
        plain_s, drafted_s = prompts.step_s(ROOFLINE, LOAD, np.array([0, 1]), np.array([0.0, 32.0]))
        return float(drafted_s / plain_s)

    assert relative(seen_with(0)) == pytest.approx(1.1)  # the draft pass alone: 64 tokens fit
    assert relative(seen_with(*[200] * 100)) > 1.2


def test_idle_periods_say_nothing_of_how_often_prompts_come() -> None:
    prompts = seen_with(*[200] * 100)
    before = prompts.snapshot()
    idle = feedback_of(make_view(1), 0, np.zeros(1), np.zeros(1), idle=True, step_s=60.0)
    prompts.observe(idle)
    assert prompts.snapshot() == before
    again = Prompts()
    again.restore(before)
    assert again.snapshot() == before
