from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from policies.api import StepPlan, StepView
from policies.registry import PolicyError
from tests.unit.policies.worlds import linear_models, make, make_view, run_step

pytestmark = pytest.mark.unit

SURE = np.ones((4, 8))


def by_step(view: StepView) -> int:
    """A policy whose wish the test writes into the step number."""
    return view.step % 10


def wish(policy: Any, k: int) -> StepPlan:
    plan: StepPlan = policy.plan(make_view(4, step=k))
    return plan


def test_a_probe_drafts_once_every_so_many_silent_steps() -> None:
    policy = make("probed", policy={"name": "off"}, every=3, k=2)
    assert [run_step(policy, make_view(4), SURE).k for _ in range(9)] == [0, 0, 0, 2, 0, 0, 0, 2, 0]


def test_a_probe_is_verified_in_full_and_never_needed_while_drafting() -> None:
    policy = make("probed", policy={"name": "off"}, every=1, k=2)
    run_step(policy, make_view(4), SURE)
    step = run_step(policy, make_view(4), SURE)
    assert step.plan.reason == "probe"
    assert step.lengths.tolist() == [2, 2, 2, 2]
    busy = make("probed", policy={"name": "fixed", "params": {"k": 3}}, every=1)
    assert {run_step(busy, make_view(4), SURE).plan.reason for _ in range(5)} == {"fixed"}


def test_a_probe_waits_for_room() -> None:
    policy = make("probed", policy={"name": "off"}, every=1, k=2)
    full = make_view(4, k_limit=np.zeros(4, np.int64))
    assert [run_step(policy, full, SURE).k for _ in range(4)] == [0, 0, 0, 0]
    assert run_step(policy, make_view(4), SURE).k == 2


def test_a_probe_brings_adaspec_back() -> None:
    inner = {"name": "adaspec", "params": {"prior_confidence": 0.05, "keep": 0.5}}
    models = linear_models(target_gamma_s=1e-5)
    lone = make("adaspec", models, prior_confidence=0.05, keep=0.5)
    assert {run_step(lone, make_view(4), SURE).k for _ in range(50)} == {0}
    probed = make("probed", models, policy=inner, every=8, k=4)
    assert max(run_step(probed, make_view(4), SURE).k for _ in range(50)) == 8


def test_steady_ignores_flips_and_follows_a_lasting_wish() -> None:
    policy = make("steady", policy={"name": f"{__name__}:by_step"}, margin=1, dwell=3)
    assert wish(policy, 4).k == 4
    assert [wish(policy, k).k for k in (5, 3, 4, 8, 4, 8, 4)] == [4] * 7
    assert [wish(policy, 8).k for _ in range(3)] == [4, 4, 8]


def test_steady_never_holds_more_than_the_batch_can_take() -> None:
    policy = make("steady", policy={"name": f"{__name__}:by_step"}, dwell=100)
    wish(policy, 6)
    assert policy.plan(make_view(4, step=0, k_limit=np.full(4, 2))).k == 2


@pytest.mark.parametrize("name", ["probed", "steady"])
def test_who_counts_steps_is_asked_at_each(name: str) -> None:
    assert make("off").plan(make_view(4)).holds > 0
    assert make(name, policy={"name": "off"}).plan(make_view(4)).holds == 0


def test_wrappers_nest_and_take_on_what_the_inner_policy_needs() -> None:
    policy = make("probed", policy={"name": "steady", "params": {"policy": {"name": "adaspec"}}})
    assert policy.needs == {"top1"}
    assert policy.stops_early
    assert policy.explain()["inner"]["inner"]["params"]["k"] == 8


def test_errors_inside_name_the_inner_field() -> None:
    with pytest.raises(PolicyError, match=r"policy\.params\.k: -1 refused for 'fixed'"):
        make("probed", policy={"name": "fixed", "params": {"k": -1}})
    with pytest.raises(PolicyError, match="unknown policy 'nope'"):
        make("steady", policy={"name": "nope"})
    with pytest.raises(PolicyError, match=r"policy\.params\.policy"):
        make("probed")
