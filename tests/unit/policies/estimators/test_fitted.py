from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from policies.api import StepFeedback
from policies.estimators.cost import LinearCoefficients
from policies.estimators.fitted import FittedCost
from policies.estimators.hybrid import HybridCost
from policies.models import CostModel, StepLoad
from tests.unit.policies.worlds import feedback_of, make_view

pytestmark = pytest.mark.unit

Engine = Callable[[int, int, int], tuple[float, float]]
"""(batch, k, verified) -> (draft seconds, verify seconds)."""


def two_cores(batch: int, k: int, n: int) -> tuple[float, float]:
    draft_s = k * (5e-4 + 3e-5 * batch) + 1.2e-3 if k else 0.0
    return draft_s, 0.028 + 1.67e-3 * (batch + n) + 5e-4 * batch


def gpu(batch: int, k: int, n: int) -> tuple[float, float]:
    return 1.3e-3 * k, 0.002 + max(0.0064, 29.5e-6 * (batch + n)) + 5e-6 * batch


def seen(engine: Engine, batch: int, k: int, n: int, noise: float = 1.0, *, idle: bool = False) -> StepFeedback:
    draft_s, verify_s = engine(batch, k, n)
    verified = np.full(batch, n // batch)
    verified[: n % batch] += 1
    return feedback_of(
        make_view(batch),
        k,
        verified,
        np.zeros(batch),
        idle=idle,
        draft_s=noise * draft_s,
        verify_s=noise * verify_s,
        step_s=noise * (draft_s + verify_s),
    )


def train(cost: CostModel, engine: Engine, batches: list[int], steps: int, speed: float = 1.0, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        batch, k = int(rng.choice(batches)), int(rng.integers(0, 6))
        n = int(rng.integers(0, batch * k + 1))
        cost.observe(seen(engine, batch, k, n, speed * float(np.exp(0.05 * rng.normal()))))


def error(cost: CostModel, engine: Engine, batches: list[int], speed: float = 1.0) -> float:
    """Mean relative error over shapes."""
    errors = []
    for batch in batches:
        for k in (0, 1, 3, 5):
            for n in {0, batch * k // 2, batch * k}:
                true = speed * sum(engine(batch, k, n))
                predicted = float(cost.step_s(StepLoad(batch, 100 * batch), k, n))
                errors.append(abs(predicted / true - 1))
    return float(np.mean(errors))


@pytest.mark.parametrize(("engine", "batches"), [(two_cores, [1, 4, 16, 32]), (gpu, [1, 16, 64, 128])])
def test_learns_any_machine_from_a_few_steps(engine: Engine, batches: list[int]) -> None:
    cost = HybridCost(FittedCost())
    train(cost, engine, batches, 200)
    assert error(cost, engine, batches) < 0.05


def test_the_curve_is_convex_and_rising() -> None:
    cost = FittedCost()
    train(cost, gpu, [1, 16, 64, 128], 200)
    steps = np.diff(cost.step_s(StepLoad(1, 100), 0, np.arange(1000)))
    assert (steps >= 0).all()
    assert (np.diff(steps) >= -1e-12).all()


def test_a_size_that_kernels_dislike_is_learned() -> None:
    def odd(batch: int, k: int, n: int) -> tuple[float, float]:
        draft_s, verify_s = two_cores(batch, k, n)
        return draft_s, verify_s * (1.4 if batch + n == 2 else 1.0)

    cost = HybridCost(FittedCost())
    train(cost, odd, [1, 2], 400)
    for batch, k, n in ((1, 0, 0), (1, 1, 1), (1, 3, 3), (2, 0, 0), (2, 1, 1)):
        predicted = float(cost.step_s(StepLoad(batch, 100 * batch), k, n))
        assert predicted == pytest.approx(sum(odd(batch, k, n)), rel=0.08), (batch, k, n)
    uneven = cost.explain()["base"]["uneven"]
    assert max(uneven, key=uneven.__getitem__) == 2
    again = HybridCost(FittedCost())
    again.restore(cost.snapshot())
    assert again.explain()["base"] == cost.explain()["base"]


def test_before_the_first_step_verifying_looks_cheap_enough_to_be_tried() -> None:
    cost = FittedCost()
    one, eight = cost.step_s(StepLoad(1, 100), 1, np.array([1, 8]))
    assert 0 < eight / one - 1 < 0.1


@pytest.mark.parametrize("batch", [2, 8, 32])
def test_a_machine_that_slows_down_twofold_is_learned_within_100_steps(batch: int) -> None:
    cost = HybridCost(FittedCost())
    train(cost, two_cores, [batch], 300)
    train(cost, two_cores, [batch], 100, speed=2.0, seed=1)
    assert error(cost, two_cores, [batch], speed=2.0) < 0.1


def test_a_region_that_did_not_slow_down_keeps_its_ratio() -> None:
    cost = HybridCost(FittedCost())
    train(cost, two_cores, [2, 32], 300)
    train(cost, two_cores, [32], 30, speed=2.0)
    assert error(cost, two_cores, [2]) < 0.35
    assert cost.explain()["measured_over_predicted"]["batch<=4"] == pytest.approx(1.0, abs=0.1)


def test_one_stalled_step_changes_little() -> None:
    cost = HybridCost(FittedCost())
    train(cost, two_cores, [4], 300)
    cost.observe(seen(two_cores, 4, 3, 12, noise=100.0))
    assert error(cost, two_cores, [4]) < 0.1


@pytest.mark.parametrize("step_s", [0.0, -1.0, float("nan"), float("inf")])
def test_periods_without_a_time_teach_nothing(step_s: float) -> None:
    cost = HybridCost(FittedCost())
    train(cost, two_cores, [4], 50)
    before = cost.snapshot()
    cost.observe(feedback_of(make_view(4), 2, np.full(4, 2), np.zeros(4), step_s=step_s))
    assert cost.snapshot() == before


def test_idle_periods_teach_nothing() -> None:
    cost = HybridCost(FittedCost())
    train(cost, two_cores, [4], 50)
    before = cost.snapshot()
    cost.observe(seen(two_cores, 4, 2, 8, noise=50.0, idle=True))
    assert cost.snapshot() == before


def test_catching_up_is_priced_by_the_token() -> None:
    cost = FittedCost()
    rng = np.random.default_rng(0)
    for _ in range(200):
        lag = int(rng.choice([0, 0, 100, 1000]))
        draft_s = 2e-3 + 5e-5 * lag
        cost.observe(
            feedback_of(
                make_view(4), 1, np.ones(4), np.zeros(4), draft_s=draft_s, step_s=0.03 + draft_s, catch_up_tokens=lag
            )
        )
    with_lag, without = (float(cost.step_s(StepLoad(4, 400, 0, lag), 1, 4)) for lag in (1000, 0))
    assert with_lag - without == pytest.approx(0.05, rel=0.1)


def test_what_verifying_at_all_takes_is_not_taken_for_a_part_of_every_step() -> None:
    """Where drafting is the rule and plain steps are few, they looked a tenth dearer than they are."""

    def late(batch: int, k: int, n: int) -> tuple[float, float]:
        draft_s = 1.5e-3 + k * (8e-4 + 8e-5 * batch) if k else 0.0
        return draft_s, 0.0075 + 2e-4 * batch + 3.3e-4 * (batch + n) + 1.3e-3 * (n > 0)

    rng = np.random.default_rng(0)
    cost = HybridCost(FittedCost())
    for step in range(2000):
        batch, k = int(rng.integers(1, 17)), 0 if step % 64 == 0 else int(rng.integers(1, 5))
        n = int(rng.integers(batch * k // 2, batch * k + 1))
        cost.observe(seen(late, batch, k, n, float(np.exp(0.08 * rng.normal()))))
    for batch in (1, 2, 4, 7, 12, 16):
        load = StepLoad(batch, 100 * batch)
        plain_s, drafting_s = float(cost.step_s(load, 0, 0)), float(cost.step_s(load, 1, batch))
        gain = sum(late(batch, 1, batch)) / sum(late(batch, 0, 0))
        assert drafting_s / plain_s == pytest.approx(gain, rel=0.05), batch


def small_cpu(batch: int, k: int, n: int, prompts: int = 0) -> tuple[float, float]:
    """As measured on two cores: tokens with logits take more than those of prompts."""
    draft_s = 1e-3 + k * (8e-4 + 8e-5 * batch) if k else 0.0
    return draft_s, 0.0075 + 1e-4 * batch + 4e-4 * (batch + n) + 3e-4 * prompts + 4e-4 * (n > 0)


def spells(cost: CostModel, steps: int) -> None:
    """Quiet and busy spells, prompts here and there, drafts nearly always."""
    rng = np.random.default_rng(0)
    for step in range(steps):
        busy = step % 300 >= 200
        batch, k = int(rng.integers(6, 17) if busy else rng.integers(1, 5)), 0 if step % 128 == 0 else 1 + step % 4
        n, prompts = int(rng.integers(batch * k // 2, batch * k + 1)), int(rng.choice([0, 80], p=[0.8, 0.2]))
        noise = float(np.exp(0.08 * rng.normal()))
        cost.observe(replace(seen(partial(small_cpu, prompts=prompts), batch, k, n, noise), prefill_tokens=prompts))


def test_prompts_without_logits_do_not_make_drafts_look_cheap() -> None:
    """A curve of all tokens alike lay between the two, too high for few tokens and too flat: K came out too large."""
    cost = HybridCost(FittedCost())
    spells(cost, 3000)
    for batch in (2, 4, 7, 12, 16):
        load = StepLoad(batch, 100 * batch)
        for n in (0, batch, 2 * batch):
            true_s = sum(small_cpu(batch, 0, n))
            assert float(cost.step_s(load, 0, n)) == pytest.approx(true_s, rel=0.05), (batch, n)


def test_prompts_the_draft_takes_along_are_not_blamed_on_catching_up() -> None:
    """A draft pass computes the prompts of the verify before it, and where prompts join there is more to catch up.

    Overlooked, they made a catch-up look ten times as dear, and a policy at K = 0 never started again.
    """
    rng = np.random.default_rng(0)
    model, prompts = FittedCost(), 0
    for step in range(300):
        view = make_view(32, step=step)
        beside = int(rng.choice([0, 500]))
        lag = int(rng.choice([0, 40])) if prompts else 0
        draft_s = 2e-3 + 6e-6 * (lag + prompts)
        seen = feedback_of(view, 2, np.full(32, 2), np.ones(32), draft_s=draft_s, step_s=0.02 + draft_s)
        model.observe(replace(seen, prefill_tokens=beside, catch_up_tokens=lag))
        prompts = beside
    load = StepLoad(32, 3200)
    more_s = float(model.step_s(replace(load, lag_tokens=1000), 2, 0) - model.step_s(load, 2, 0))
    assert more_s == pytest.approx(6e-3, rel=0.3)


DRAFT = ("draft_start_s", "draft_delta_s", "draft_alpha_s", "draft_gamma_s", "catch_up_s")
TARGET = ("target_delta_s", "overhead_s", "request_s", "target_gamma_s")


@pytest.mark.parametrize("nothing", [DRAFT, TARGET, (*TARGET, "target_alpha_s"), (*DRAFT, *TARGET)])
def test_a_profile_that_says_nothing_is_learned_over(nothing: tuple[str, ...]) -> None:
    cost = FittedCost(LinearCoefficients(**dict.fromkeys(nothing, 0.0)), trust=4.0)
    assert np.isfinite(cost.step_s(StepLoad(batch=2, context_tokens=100, prefill_tokens=0), [0, 3], [0, 6])).all()
    train(cost, two_cores, [1, 2, 4], 200)
    assert error(cost, two_cores, [1, 2, 4]) < 0.1
    for batch in (1, 4):
        load, (true_s, _) = StepLoad(batch, 100 * batch), two_cores(batch, 5, 0)
        drafting_s = float(cost.step_s(load, 5, 0) - cost.step_s(load, 0, 0))
        assert drafting_s == pytest.approx(true_s, rel=0.2)
