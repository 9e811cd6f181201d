"""What holds for every registered policy, in any world."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.api import StepView, VerifyPlan
from policies.guard import Guard
from policies.registry import CONTROLLERS
from tests.unit.policies.worlds import accept, make, make_view, run_step, views

pytestmark = pytest.mark.unit

WRAPPED: dict[str, dict[str, Any]] = {
    "probed": {"policy": {"name": "adaspec"}, "every": 2},
    "steady": {"policy": {"name": "confidence"}, "dwell": 2},
}
MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "aimd_hf": ("aimd", {"preset": "hf"}),
    "confidence_chain": ("confidence", {"rule": "chain", "tune": True}),
    "nightjar_memory": ("nightjar", {"offload_below": 0.1, "persist_steps": 1}),
    "tetris": ("budget", {"capacity_tokens": 4}),
    "adaspec_calibrated": ("adaspec", {"calibrated": True}),
    "slo_goodput_uniform": ("slo_goodput", {"early_stop": False}),
}
CASES = {name: (name, WRAPPED.get(name, {})) for name in CONTROLLERS} | MORE


def built(case: str, *, k_max: int = 8, seed: int = 0) -> Any:
    name, params = CASES[case]
    return make(name, k_max=k_max, seed=seed, **params)


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=25)
@given(st.lists(views(), min_size=1, max_size=6), st.integers(0, 2**31))
def test_any_state_yields_decisions_an_engine_can_execute(case: str, seen: list[StepView], seed: int) -> None:
    rng = np.random.default_rng(seed)
    policies: dict[int, tuple[Any, Guard]] = {}
    for view in seen:
        if view.k_max not in policies:
            inner = built(case, k_max=view.k_max)
            policies[view.k_max] = inner, Guard(inner)
        policy, guard = policies[view.k_max]
        confidence = rng.random((view.batch, view.k_max))
        step = run_step(guarded(policy, guard), view, confidence, accept(rng, confidence, view.k_max))
        policy.context.models.observe(step.feedback)
        assert 0 <= step.k <= view.k_max
        assert ((step.lengths >= 0) & (step.lengths <= view.k_limit)).all()
        assert guard.faults == {}, guard.last_fault


def guarded(policy: Any, guard: Guard) -> Any:
    """The guard where an engine would hold it; its `select` answers lengths."""

    class Held:
        needs = policy.needs
        plan, before_draft, after_draft, feedback = guard.plan, guard.before_draft, guard.after_draft, guard.feedback

        @staticmethod
        def select(bundle: Any) -> Any:
            return VerifyPlan(guard.select(bundle))

    return Held()


def trained(case: str, seed: int, steps: int = 40) -> Any:
    policy = built(case, seed=seed)
    play(policy, seed, steps)
    return policy


def play(policy: Any, seed: int, steps: int) -> list[tuple[int, list[int]]]:
    rng = np.random.default_rng(seed)
    decisions = []
    for step in range(steps):
        batch = int(rng.choice([1, 4, 12]))
        slo = rng.choice([0.02, 0.05, np.inf], batch)
        free = float(rng.random())
        view = make_view(batch, step=step, tpot_slo_s=slo, free_kv_fraction=free)
        confidence = rng.beta(3, 1.5, (batch, 8))
        done = run_step(policy, view, confidence, accept(rng, confidence, 8))
        policy.context.models.observe(done.feedback)
        decisions.append((done.k, done.lengths.tolist()))
    return decisions


@pytest.mark.parametrize("case", CASES)
def test_decisions_follow_from_state_and_seed(case: str) -> None:
    assert play(built(case, seed=3), 5, 60) == play(built(case, seed=3), 5, 60)


@pytest.mark.parametrize("case", CASES)
def test_a_snapshot_goes_through_json_and_brings_the_state_back(case: str) -> None:
    policy = trained(case, seed=1)
    models = policy.context.models
    state = json.loads(json.dumps([policy.snapshot(), models.cost.snapshot(), models.acceptance.snapshot()]))
    twin = built(case, seed=1)
    twin.context.models.cost.restore(state[1])
    twin.context.models.acceptance.restore(state[2])
    twin.restore(state[0])
    assert json.loads(json.dumps(twin.snapshot())) == state[0]
    assert play(twin, 9, 20) == play(policy, 9, 20)


@pytest.mark.parametrize("case", CASES)
def test_an_operator_can_read_what_it_learned(case: str) -> None:
    policy = trained(case, seed=2, steps=10)
    assert json.dumps(policy.explain())
    assert json.dumps([policy.context.models.cost.explain(), policy.context.models.acceptance.explain()])
