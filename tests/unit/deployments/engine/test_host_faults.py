import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.unit.deployments.engine.fake_loop import K_MAX, OWN, Loop, new_host

FAULTS = {"raise": "raised:ArithmeticError", "loop": "interrupted", "exit": "raised:SystemExit"}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("hook", ["plan", "before_draft", "after_draft", "select", "feedback"])
def test_a_fault_in_any_hook_falls_back_to_plain_decoding(hook: str, fault: str) -> None:
    kind = FAULTS[fault]
    loop = Loop(new_host(OWN + "Faulty", hook=hook, fault=fault))
    first = loop.step()
    if hook != "feedback":
        assert first.lengths.tolist() == [0, 0, 0]
    assert loop.run(3) == [0, 0, 0]
    report = loop.report()
    assert report.fallbacks == {kind: 1}
    assert report.reasons["fallback"] >= 3
    assert report.policy_state["last_fault"].startswith(kind)


@pytest.mark.parametrize(
    "answer",
    [
        {"plan": {"k": float("nan")}},
        {"plan": {"k": -1}},
        {"plan": {"k": 1.5}},
        {"plan": {"k": 2, "k_by_request": [1, 2]}},
        {"plan": {"k": 2, "k_by_request": [1, 2, float("nan")]}},
        {"lengths": [1, 1, float("nan")]},
        {"lengths": [1, 1, 9]},
        {"lengths": [1, 1]},
        {"cut": {"budget_tokens": -1}},
        {"cut": {"budget_tokens": 1.5}},
        {"cut": {"min_survival": float("nan")}},
        {"cut": {"cost_s": []}},
        {"cut": {"cost_s": [1.0, float("nan")]}},
        {"cut": {"cost_s": [0.0, 0.0]}},
    ],
)
def test_an_impossible_answer_is_refused(answer: dict[str, Any]) -> None:
    loop = Loop(new_host(OWN + "Answers", **answer), temperature=1.0)
    loop.step(sampled=True)
    assert loop.run(2, sampled=True) == [0, 0]
    assert loop.report().fallbacks == {"impossible": 1}


def test_too_large_a_k_is_clamped() -> None:
    loop = Loop(new_host(OWN + "Answers", plan={"k": 99}))
    assert loop.run(2) == [K_MAX, K_MAX]
    assert loop.report().fallbacks == {"clamped": 2}


def test_a_fault_in_select_leaves_restricted_requests_their_planned_length() -> None:
    loop = Loop(new_host(OWN + "Faulty", hook="select"), temperature=[0.0, 1.0, 0.0])
    assert loop.step(sampled=True).lengths.tolist() == [0, 3, 0]


def test_hooks_that_take_too_long_three_times_fall_back() -> None:
    loop = Loop(new_host("fixed", {"soft_limit_ms": 1e-6, "soft_limit_share": 0}, k=2))
    assert loop.run(5) == [2, 2, 2, 0, 0]
    assert loop.report().fallbacks == {"overrun": 1}


@pytest.fixture
def ends_on_sigterm() -> Iterator[None]:
    """As vLLM's worker does."""

    def end(signum: int, frame: FrameType | None) -> None:
        raise SystemExit

    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("ends_on_sigterm")
def test_a_process_told_to_end_while_a_hook_runs_ends() -> None:
    loop = Loop(new_host(OWN + "Faulty", hook="plan", fault="stopped"))
    with pytest.raises(SystemExit):
        loop.step()
    assert loop.report().fallbacks == {}


@pytest.mark.usefixtures("ends_on_sigterm")
@pytest.mark.parametrize("hook", ["init", "snapshot", "restore"])
def test_a_process_told_to_end_while_a_policy_is_swapped_ends(hook: str) -> None:
    host = new_host(OWN + "Faulty", hook="snapshot" if hook == "snapshot" else "never", fault="stopped")
    with pytest.raises(SystemExit):
        host.set_policy(OWN + "Faulty", {"hook": hook, "fault": "stopped"})


@pytest.mark.parametrize("fault", FAULTS)
def test_a_report_comes_even_where_the_policy_cannot_explain_itself(fault: str) -> None:
    loop = Loop(new_host(OWN + "Faulty", hook="explain", fault=fault))
    loop.step()
    state = loop.report().policy_state
    assert (sum(state["faults"].values()), state["fallback"]) == (1, False)
    assert loop.step().k == 3


def test_a_report_is_plain_json_whatever_a_policy_explains() -> None:
    loop = Loop(new_host(OWN + "Rich"))
    loop.step()
    state = loop.report().policy_state
    assert (state["count"], state["table"]) == (3, [0, 1])
    assert "object" in state["who"]


def test_reporting_is_not_part_of_a_steps_hooks() -> None:
    loop = Loop(new_host("fixed", k=2))
    loop.step()
    loop.host.exchange(None)
    assert loop.host._watchdog.take_step_s() == 0.0
    assert loop.report().decide_s > 0


def test_a_reason_that_is_no_string_is_refused() -> None:
    loop = Loop(new_host(OWN + "Answers", plan={"k": 2, "reason": ["not", "hashable"]}))
    assert loop.run(2) == [0, 0]
    assert loop.report().fallbacks == {"impossible": 1}


@pytest.mark.parametrize("hook", ["init", "snapshot", "restore"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_while_a_policy_is_swapped_leaves_one_serving(hook: str, fault: str) -> None:
    loop = Loop(new_host(OWN + "Faulty", hook="snapshot" if hook == "snapshot" else "never", fault=fault))
    answer = loop.host.set_policy(OWN + "Faulty", {"hook": hook if hook != "snapshot" else "never", "fault": fault})
    assert answer["ok"] == (hook != "init")
    assert loop.run(2) == [3, 3]
    kind = "reload_rejected" if hook == "init" else "state_not_restored"
    assert loop.report().fallbacks == {kind: 1}
    if hook == "init" and fault == "loop":
        assert "build_limit_ms = 60000" in answer["error"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import signal\nsignal.raise_signal(signal.SIGALRM)\nwhile True: pass", "build_limit_ms = 60000"),
        ("raise ArithmeticError('planted')", "cannot import"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("def broken(", "SyntaxError"),
    ],
    ids=["loop", "raise", "exit", "syntax"],
)
def test_a_policys_module_that_fails_at_import_leaves_the_old_policy_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    (tmp_path / "fails_at_import.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    loop = Loop(new_host("fixed", k=2))
    answer = loop.host.set_policy("fails_at_import:policy", {})
    assert not answer["ok"]
    assert said in answer["error"]
    assert loop.run(2) == [2, 2]
    assert loop.report().fallbacks == {"reload_rejected": 1}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_policy_that_cannot_be_saved_does_not_keep_the_models_from_a_sibling(fault: str) -> None:
    loop = Loop(new_host(OWN + "Faulty", hook="snapshot", fault=fault))
    loop.run(10)
    saved = loop.host.snapshot()
    assert saved["policy"]["state"] is None
    assert loop.report().fallbacks == {FAULTS[fault]: 1}
    sibling = new_host(OWN + "Faulty")
    sibling.restore(saved)
    assert sibling.snapshot()["cost"] == saved["cost"]
    assert Loop(sibling).report().fallbacks == {}


def test_building_a_policy_is_not_part_of_a_steps_hooks() -> None:
    loop = Loop(new_host("fixed", k=2))
    loop.host.set_policy("fixed", {"k": 1})
    assert loop.host._watchdog.take_step_s() == 0.0


def test_an_engine_whose_first_policy_exits_says_so() -> None:
    with pytest.raises(RuntimeError, match="the policy raised SystemExit: init"):
        new_host(OWN + "Faulty", hook="init", fault="exit")
