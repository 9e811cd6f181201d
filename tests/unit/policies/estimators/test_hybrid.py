from __future__ import annotations

from math import exp

import numpy as np
import pytest

from policies.api import StepFeedback
from policies.estimators import default_models
from policies.estimators.cost import LinearCoefficients, LinearCost
from policies.estimators.hybrid import OWN, HybridCost
from policies.models import StepLoad
from tests.unit.policies.worlds import feedback_of, make_view

pytestmark = pytest.mark.unit


def observe(cost: HybridCost, batch: int, ratio: float, times: int = 1) -> None:
    """A machine `ratio` times as slow as the base says."""
    for _ in range(times):
        step_s = ratio * float(cost.base.step_s(StepLoad(batch, 100 * batch), 2, 2 * batch))
        cost.observe(feedback_of(make_view(batch), 2, np.full(batch, 2), np.zeros(batch), draft_s=0.0, step_s=step_s))


def ratio_at(cost: HybridCost, batch: int) -> float:
    load = StepLoad(batch, 100 * batch)
    return float(cost.step_s(load, 1, batch) / cost.base.step_s(load, 1, batch))


def test_an_offline_fit_is_corrected_per_region() -> None:
    cost = HybridCost(LinearCost(LinearCoefficients(target_delta_s=5e-3)))
    observe(cost, 4, 2.0, 20)
    observe(cost, 16, 0.5, 20)
    assert ratio_at(cost, 1) == ratio_at(cost, 4) == pytest.approx(2.0, rel=0.02)
    assert ratio_at(cost, 5) == ratio_at(cost, 16) == pytest.approx(0.5, rel=0.02)
    assert ratio_at(cost, 17) == 1.0


def test_the_ratio_follows_a_lasting_change_and_shrugs_off_a_single_one() -> None:
    cost = HybridCost(LinearCost())
    observe(cost, 4, 1.0, 20)
    observe(cost, 4, 1000.0)
    assert ratio_at(cost, 4) < 1.08
    observe(cost, 4, 2.0, 50)
    assert ratio_at(cost, 4) == pytest.approx(2.0, rel=0.02)


class Pupil(LinearCost):
    """A base that keeps the times it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[float] = []

    def observe(self, seen: StepFeedback) -> None:
        self.shown.append(seen.step_s)


@pytest.mark.parametrize(("slower", "left_to_the_base"), [(1.1, 1.1), (0.9, 0.9), (2.0, exp(OWN)), (0.5, exp(-OWN))])
def test_what_the_ratio_may_be_wrong_about_is_left_to_the_base(slower: float, left_to_the_base: float) -> None:
    """Loads come in spells: shown times divided by a ratio that follows them, the base never saw its own error."""
    base = Pupil()
    observe(HybridCost(base, leak=0.0), 4, slower, 50)
    believed_s = float(base.step_s(StepLoad(4, 400), 2, 8))
    assert base.shown[0] == slower * believed_s
    assert base.shown[-1] == pytest.approx(left_to_the_base * believed_s, rel=1e-3)


def test_from_a_profile_a_slowed_target_is_learned_within_100_steps_for_shapes_not_seen_since_too() -> None:
    profile = LinearCoefficients(target_delta_s=5e-3, target_gamma_s=2e-4)
    cost, true = default_models(4, profile).cost, LinearCost(profile)
    rng = np.random.default_rng(0)

    def run(slower: float, steps: int) -> None:
        for _ in range(steps):
            k, view = int(rng.integers(0, 5)), make_view(6)
            whole, target = (float(true.step_s(StepLoad(6, 600), drafts, 6 * k)) for drafts in (k, 0))
            step_s = (whole + (slower - 1) * target) * float(rng.normal(1, 0.05))
            cost.observe(feedback_of(view, k, np.full(6, k), np.zeros(6), draft_s=whole - target, step_s=step_s))

    run(1.0, 50)
    assert float(cost.step_s(StepLoad(16, 1600), 0, 0)) == pytest.approx(
        float(true.step_s(StepLoad(16, 1600), 0, 0)), rel=0.1
    )
    run(2.0, 100)
    for batch, k in ((6, 0), (6, 4), (16, 0)):
        load = StepLoad(batch, 100 * batch)
        target, whole = float(true.step_s(load, 0, batch * k)), float(true.step_s(load, k, batch * k))
        assert float(cost.step_s(load, k, batch * k)) == pytest.approx(whole + target, rel=0.1)
