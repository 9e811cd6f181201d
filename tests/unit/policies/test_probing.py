from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.probing import ProbeBudget, Reminder

pytestmark = pytest.mark.unit


def probe(budget: ProbeBudget, believed_s: float, true_s: float) -> bool:
    """One step of .05 s; whether it was a probe, of `believed_s` more and in truth `true_s`."""
    if not budget.afford(0.05, 0.05 + believed_s):
        return False
    budget.spend(0.05, 0.05 + believed_s)
    budget.settle(0.05 + true_s)
    return True


@given(st.floats(1e-4, 1), st.floats(1e-3, 1), st.floats(1e-4, 1))
def test_probes_cost_at_most_their_share_and_one_in_advance(share: float, plain_s: float, extra_s: float) -> None:
    budget, spent, time = ProbeBudget(share), 0.0, 0.0
    for _ in range(200):
        time += plain_s
        if budget.afford(plain_s, plain_s + extra_s):
            budget.spend(plain_s, plain_s + extra_s)
            budget.settle(plain_s + extra_s)
            spent += extra_s
    assert spent <= (share * time + extra_s) * (1 + 1e-9)


def test_a_dearer_probe_comes_more_rarely() -> None:
    def count(extra_s: float) -> int:
        budget = ProbeBudget(0.01)
        return sum(probe(budget, extra_s, extra_s) for _ in range(10_000))

    assert count(0.005) > count(0.02) > count(0.5) > 0


def test_steps_nobody_was_asked_for_are_saved_for_too() -> None:
    one_by_one, at_once = ProbeBudget(0.01), ProbeBudget(0.01)
    asked = next(n for n in range(1, 1000) if one_by_one.afford(0.05, 0.06))
    assert next(n for n in range(1, 1000) if at_once.afford(0.05, 0.06, 8)) == -(-asked // 8)


def test_one_that_only_looks_dear_is_tried_soon_and_often() -> None:
    budget = ProbeBudget(0.01)
    tried = [step for step in range(100) if probe(budget, believed_s=10.0, true_s=0.005)]
    assert tried[0] <= 25
    assert len(tried) >= 3


def test_a_probe_that_stalls_is_owed_no_further_than_it_was_believed() -> None:
    budget = ProbeBudget(0.01)
    tried = [step for step in range(100) if probe(budget, believed_s=0.005, true_s=30.0)]
    assert len(tried) >= 8


def test_plain_steps_among_drafts_grow_rare() -> None:
    reminder = Reminder()
    plain = [step for step in range(1, 600) if reminder.due(drafting=True)]
    assert plain == [8, 24, 56, 120, 248, 376, 504]


def test_who_decodes_plainly_needs_no_reminder() -> None:
    reminder = Reminder()
    assert not any(reminder.due(drafting=step % 7 > 0) for step in range(1, 100))
