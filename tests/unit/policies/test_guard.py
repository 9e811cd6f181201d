from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.api import HOLDS, Cut, DraftBundle, DraftObservation, PolicyContext, StepPlan, StepView, VerifyPlan
from policies.base import BasePolicy, FromCallable, Params
from policies.estimators import default_models
from policies.guard import Guard, Interrupted, Limits
from tests.unit.policies.worlds import feedback_of, make_view

pytestmark = pytest.mark.unit

LIMITS = Limits(cooldown_steps=4)


class Scripted(BasePolicy[Params]):
    """Answers what the test says; an exception is raised."""

    name = "scripted"

    def __init__(self, **answers: Any) -> None:
        super().__init__(Params(), PolicyContext(8, default_models(8)))
        self.answers = answers

    def _answer(self, hook: str, usual: Any) -> Any:
        answer = self.answers.get(hook, usual)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def plan(self, view: StepView) -> StepPlan:
        plan: StepPlan = self._answer("plan", StepPlan(k=3))
        return plan

    def before_draft(self, j: int) -> bool:
        return bool(self._answer("before_draft", usual=True))

    def after_draft(self, seen: DraftObservation) -> bool:
        return bool(self._answer("after_draft", usual=True))

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        plan: VerifyPlan = self._answer("select", VerifyPlan())
        return plan

    def feedback(self, seen: Any) -> None:
        self._answer("feedback", None)


def bundle_of(view: StepView, k: int = 3) -> DraftBundle:
    return DraftBundle(view, StepPlan(k=k), k, {}, np.zeros(view.batch, np.bool_))


def hooks(guard: Guard) -> dict[str, Callable[[], Any]]:
    view = make_view(2)
    return {
        "plan": lambda: guard.plan(view),
        "before_draft": lambda: guard.before_draft(0),
        "after_draft": lambda: guard.after_draft(DraftObservation(0, {}, 0.0)),
        "select": lambda: guard.select(bundle_of(view)),
        "feedback": lambda: guard.feedback(feedback_of(view, 0, np.zeros(2), np.zeros(2))),
    }


@pytest.mark.parametrize("hook", ["plan", "before_draft", "after_draft", "select", "feedback"])
@pytest.mark.parametrize("error", [ValueError("broken"), Interrupted(), SystemExit(3), asyncio.CancelledError()])
def test_a_fault_in_any_hook_falls_back_to_plain_decoding(hook: str, error: BaseException) -> None:
    guard = Guard(Scripted(**{hook: error}), LIMITS)
    if hook != "plan":
        assert guard.plan(make_view(2)).k == 3
    answer = hooks(guard)[hook]()
    assert not guard.active
    assert guard.plan(make_view(2)) == StepPlan(k=0, reason="fallback")
    kind = "interrupted" if isinstance(error, Interrupted) else f"raised:{type(error).__name__}"
    assert guard.faults == {kind: 1}
    if hook == "select":
        assert answer.tolist() == [0, 0]  # nothing verified: always exact
    if hook.endswith("draft"):
        assert answer is False


def test_ctrl_c_is_not_a_policys_fault() -> None:
    guard = Guard(Scripted(plan=KeyboardInterrupt()), LIMITS)
    with pytest.raises(KeyboardInterrupt):
        guard.plan(make_view(2))
    assert guard.active


def test_the_engine_says_what_is_not_the_policys_own() -> None:
    guard = Guard(Scripted(plan=SystemExit()), LIMITS, passes=lambda error: isinstance(error, SystemExit))
    with pytest.raises(SystemExit):
        guard.plan(make_view(2))
    assert guard.active


@pytest.mark.parametrize("hook", ["before_draft", "after_draft", "select", "feedback"])
def test_a_hook_that_the_policy_left_as_it_is_is_answered_for_it(hook: str) -> None:
    asked: list[Any] = []

    def run(call: Callable[[], Any], /) -> Any:
        asked.append(call)
        return call()

    plain = FromCallable(lambda _: 3, Params(), PolicyContext(8, default_models(8)))
    answers = []
    for policy, times in ((plain, 0), (Scripted(), 1)):
        guard = Guard(policy, LIMITS, run)
        asked.clear()
        answers.append(hooks(guard)[hook]())
        assert len(asked) == times
    assert np.array_equal(*answers)


@pytest.mark.parametrize("said", [None, 7, "ab", [1, 2]])
def test_an_explanation_that_is_no_mapping_is_a_fault(said: Any) -> None:
    policy = Scripted()
    policy.explain = lambda: said  # type: ignore[method-assign]  # a user's mistake
    state = Guard(policy, LIMITS).explain()
    assert next(iter(state["faults"])) in {"raised:TypeError", "raised:ValueError"}


def test_an_explanation_becomes_plain_json() -> None:
    policy = Scripted()
    policy.explain = lambda: {"count": np.int64(3), 1: np.arange(2)}  # type: ignore[method-assign,dict-item]  # as users do
    state = Guard(policy, LIMITS).explain()
    assert (state["count"], state["1"]) == (3, [0, 1])


@pytest.mark.parametrize(
    "plan",
    [
        StepPlan(k=float("nan")),  # type: ignore[arg-type]  # what a policy may answer all the same
        StepPlan(k=float("inf")),  # type: ignore[arg-type]  # the same
        StepPlan(k=-1),
        StepPlan(k=0, holds=-1),
        StepPlan(k=1, reason=["no", "string"]),  # type: ignore[arg-type]  # the same
        StepPlan(k=1.5),  # type: ignore[arg-type]  # the same
        StepPlan(k=3, k_by_request=np.array([1])),
        StepPlan(k=3, k_by_request=np.array([[1, 2]])),
        StepPlan(k=3, k_by_request=np.array([1, -2])),
        StepPlan(k=3, k_by_request=np.array([1, 9])),
        StepPlan(k=3, k_by_request=np.array([1, np.nan])),
    ],
)
def test_an_impossible_plan_falls_back(plan: StepPlan) -> None:
    guard = Guard(Scripted(plan=plan), LIMITS)
    assert guard.plan(make_view(2)).k == 0
    assert guard.faults == {"impossible": 1}


def test_an_answer_holds_for_so_many_steps_at_most() -> None:
    assert Guard(Scripted(plan=StepPlan(k=0, holds=10**6)), LIMITS).plan(make_view(2)).holds == HOLDS


@pytest.mark.parametrize("lengths", [[1], [[1, 2]], [1, 4], [-1, 0], [np.nan, 1], [0.5, 1]])
def test_impossible_lengths_verify_nothing(lengths: list[Any]) -> None:
    guard = Guard(Scripted(select=VerifyPlan(np.array(lengths))), LIMITS)
    view = make_view(2)
    guard.plan(view)
    assert guard.select(bundle_of(view)).tolist() == [0, 0]
    assert guard.faults == {"impossible": 1}


def test_too_large_a_k_is_clamped_without_falling_back() -> None:
    guard = Guard(Scripted(plan=StepPlan(k=100)), LIMITS)
    assert guard.plan(make_view(2)).k == 8
    assert guard.active
    assert guard.faults == {"clamped": 1}


def test_whole_floats_are_taken_as_integers() -> None:
    guard = Guard(Scripted(plan=StepPlan(k=np.float64(2.0))), LIMITS)  # type: ignore[arg-type]  # numpy users do this
    assert guard.plan(make_view(2)) == StepPlan(k=2)


def test_it_is_tried_again_after_a_cool_down_that_doubles() -> None:
    policy = Scripted(plan=ValueError("broken"))
    guard = Guard(policy, LIMITS)
    asked = []
    for step in range(1, 40):
        faults = guard.faults.total()
        guard.plan(make_view(2))
        if guard.faults.total() > faults:
            asked.append(step)
    assert asked == [1, 5, 13, 29]
    policy.answers = {}
    ks = [guard.plan(make_view(2)).k for _ in range(32)]
    assert ks == [0] * 21 + [3] * 11  # healthy again from step 29 + 32 on


def test_three_overruns_in_a_hundred_steps_fall_back() -> None:
    guard = Guard(Scripted(), replace(LIMITS, soft_s=0.002))
    for _ in range(2):
        guard.plan(make_view(2))
        guard.spent(0.003)
    assert guard.active
    for _ in range(100):
        guard.plan(make_view(2))
        guard.spent(0.001)
    guard.spent(0.003)
    assert guard.active  # the first two are long ago
    guard.plan(make_view(2))
    guard.spent(0.003)
    guard.plan(make_view(2))
    guard.spent(0.003)
    assert not guard.active
    assert guard.faults == {"overrun": 1}
    assert "ms" in str(guard.last_fault)


def test_a_long_step_leaves_its_hooks_more_time() -> None:
    guard = Guard(Scripted(), replace(LIMITS, soft_s=0.002, soft_share=0.1))
    for _ in range(10):
        guard.plan(make_view(2))
        guard.spent(0.003, step_s=0.05)
    assert guard.active
    for _ in range(3):
        guard.plan(make_view(2))
        guard.spent(0.006, step_s=0.05)
    assert guard.faults == {"overrun": 1}


def test_a_long_good_spell_is_rewarded_with_a_short_cool_down() -> None:
    guard = Guard(Scripted(), LIMITS)

    def plain_steps_after_a_fault() -> int:
        guard.fall_back("raised:Test", "")
        plain = 0
        while not guard.active:
            guard.plan(make_view(2))
            plain += 1
        return plain

    assert [plain_steps_after_a_fault() for _ in range(3)] == [4, 8, 16]
    for _ in range(320):  # ten times the 32 that would come next
        guard.plan(make_view(2))
    assert plain_steps_after_a_fault() == 4


def test_a_broken_explain_costs_no_drafting_and_is_asked_more_and_more_rarely() -> None:
    """A replica reports before its first request, and four times a second while it is idle."""
    policy = Scripted()
    policy.explain = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]  # a user's mistake
    guard = Guard(policy, LIMITS)
    for _ in range(20):
        state = guard.explain()
    assert (state["faults"], state["fallback"]) == ({"raised:ZeroDivisionError": 1}, False)
    asked = []
    for step in range(1, 40):
        assert guard.plan(make_view(2)).k == 3
        before = guard.faults.total()
        guard.explain()
        asked += [step] if guard.faults.total() > before else []
    assert asked == [4, 12, 28]  # pauses of 4, 8, 16, 32


def test_a_fault_during_a_fallback_does_not_make_it_longer() -> None:
    """The shared models may raise at every step: the policy must be tried again all the same."""
    guard = Guard(Scripted(), LIMITS)
    guard.fall_back("raised:X", "once")
    ks = []
    for _ in range(4):
        ks.append(guard.plan(make_view(2)).k)
        if not ks[-1]:
            guard.attempt(lambda: 1 / 0)
    assert ks == [0, 0, 0, 3]
    assert guard.faults["raised:ZeroDivisionError"] == 3


@pytest.mark.parametrize("hook", ["before_draft", "after_draft"])
def test_a_mask_where_a_yes_or_no_is_asked_is_a_fault(hook: str) -> None:
    policy = Scripted()
    setattr(policy, hook, lambda _: np.array([True, False]))
    guard = Guard(policy, LIMITS)
    guard._own = frozenset({hook})  # set on the instance, not in the class
    guard.plan(make_view(2))
    assert hooks(guard)[hook]() is False
    assert guard.faults == {"raised:ValueError": 1}


@pytest.mark.parametrize("needs", [["top1", "top2"], "top1", 3, [[]]])
def test_what_is_no_set_of_features_is_refused_when_it_is_built(needs: Any) -> None:
    policy = Scripted()
    policy.needs = needs
    with pytest.raises(ValueError, match=r"needs = .*give a set of top1, margin, entropy, sampled_p"):
        Guard(policy, LIMITS)


def test_a_list_of_features_will_do() -> None:
    policy = Scripted()
    policy.needs = ["top1"]  # type: ignore[assignment]  # as users do
    assert Guard(policy, LIMITS).needs == frozenset({"top1"})


def test_a_cut_is_copied() -> None:
    """Or the policy could change it once it has seen the drafts."""
    cost_s = np.array([1.0, 1.1])
    plan = Guard(Scripted(plan=StepPlan(k=1, cut=Cut(cost_s=cost_s))), LIMITS).plan(make_view(2))
    cost_s[:] = 9.0
    assert plan.cut is not None
    assert plan.cut.cost_s is not None
    assert plan.cut.cost_s.tolist() == [1.0, 1.1]


@given(st.one_of(st.integers(), st.floats(), st.none(), st.text(max_size=3), st.booleans()))
def test_whatever_a_callable_answers_the_plan_can_be_executed(answer: Any) -> None:
    policy = FromCallable(lambda _: answer, Params(), PolicyContext(8, default_models(8)))
    plan = Guard(policy, LIMITS).plan(make_view(2))
    assert type(plan.k) is int
    assert 0 <= plan.k <= 8
