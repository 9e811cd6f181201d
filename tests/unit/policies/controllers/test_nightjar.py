from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from policies.estimators.cost import LinearCoefficients, LinearCost
from policies.registry import PolicyError, PolicySpec, check
from tests.unit.policies.worlds import feedback_of, linear_models, make, make_view, run_step

pytestmark = pytest.mark.unit


def play(policy: Any, batch: int, steps: int, seconds_per_token: list[float], seed: int = 0) -> list[int]:
    """A stationary toy: arm k takes `seconds_per_token[k]`, with noise."""
    rng = np.random.default_rng(seed)
    arms = []
    for step in range(steps):
        view = make_view(batch, step=step)
        k = policy.plan(view).k
        accepted = np.full(batch, k // 2)
        step_s = seconds_per_token[k] * (1 + k // 2) * float(rng.uniform(0.8, 1.2))
        policy.feedback(feedback_of(view, k, np.full(batch, k), accepted, step_s=step_s))
        arms.append(k)
    return arms


TOY = [0.030, 0.024, 0.020, 0.026, 0.032, 0.040]


def regret(arms: list[int]) -> float:
    return sum(TOY[k] - min(TOY) for k in arms)


def test_regret_is_sub_linear_on_a_stationary_toy() -> None:
    early, late = [], []
    for seed in range(3):
        arms = play(make("nightjar", linear_models(), seed=seed), 4, 6000, TOY, seed)
        early.append(regret(arms[:2000]) / 2000)
        late.append(regret(arms[4000:]) / 2000)
    assert np.mean(late) < 0.5 * np.mean(early)
    assert np.mean(late) < 0.1 * (np.mean(TOY) - min(TOY))


def test_an_arm_is_locked_for_its_bin_and_bins_grow() -> None:
    arms = play(make("nightjar", linear_models()), 4, 4000, TOY)
    switches = np.flatnonzero(np.diff(arms))
    assert len(switches[switches < 500]) > len(switches[switches >= 3500])
    assert np.diff(switches).max() >= 32


def test_batch_sizes_learn_apart() -> None:
    policy = make("nightjar", linear_models())
    reverse = TOY[::-1]
    for _ in range(10):
        play(policy, 2, 400, TOY)
        play(policy, 30, 400, reverse)
    assert np.bincount(play(policy, 2, 200, TOY)).argmax() == 2
    assert np.bincount(play(policy, 30, 200, reverse)).argmax() == 3


def test_leaving_zero_is_charged_with_the_catch_up() -> None:
    models = linear_models()
    models = type(models)(LinearCost(LinearCoefficients(catch_up_s=1e-3)), models.acceptance)
    policy = make("nightjar", models)
    policy._sums[:] = 1.0
    fresh, behind = make_view(4), make_view(4, draft_lag_tokens=np.full(4, 100))
    assert policy._losses(2, fresh).tolist() == pytest.approx([1.0] * 6)
    assert policy._losses(2, behind) == pytest.approx([1.0, *(1.0 + 0.4 / k for k in range(1, 6))])
    policy._last_k = 2
    assert policy._losses(2, behind) == pytest.approx([1.0] * 6)


def test_the_draft_leaves_memory_when_it_is_not_used_and_kv_runs_short() -> None:
    policy = make("nightjar", linear_models(), k=0, offload_below=0.1, reload_above=0.3, persist_steps=3)

    def memory(free: float | None) -> str:
        return str(policy.plan(make_view(4, free_kv_fraction=free)).draft_memory)

    assert [memory(0.05) for _ in range(4)] == ["keep", "keep", "offload", "keep"]
    assert [memory(0.2), memory(0.4), memory(0.4)] == ["keep", "reload", "keep"]
    assert memory(None) == "keep"


def test_while_offloaded_nothing_is_drafted() -> None:
    policy = make("nightjar", linear_models(), offload_below=0.1, persist_steps=1)
    policy._offloaded = True
    assert policy.plan(make_view(4, free_kv_fraction=0.05)).k == 0


def test_an_engine_that_keeps_its_draft_refuses_to_be_told_to_offload_it() -> None:
    spec = PolicySpec(name="nightjar", params={"offload_below": 0.1})
    with pytest.raises(PolicyError, match="this engine keeps its draft in memory"):
        check(spec, 5)


def test_what_was_learned_of_other_batch_sizes_is_dropped() -> None:
    narrow, wide = make("nightjar", batch_width=2), make("nightjar", batch_width=4)
    for _ in range(30):
        run_step(narrow, make_view(8), np.full((8, 8), 0.5))
    wide.restore(narrow.snapshot())
    assert not wide._sums.any()
    same = make("nightjar", batch_width=2)
    same.restore(narrow.snapshot())
    assert same._sums.any()
