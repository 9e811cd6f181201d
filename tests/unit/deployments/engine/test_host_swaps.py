import json
from typing import Any

import pytest

from policies.exchange import LoadOutlook
from policies.registry import CONTROLLERS
from tests.unit.deployments.engine.fake_loop import K_MAX, OWN, WRAPPED, Loop, new_host


def test_a_good_policy_takes_over_at_once() -> None:
    loop = Loop(new_host("off"))
    loop.step()
    answer = loop.host.set_policy("fixed", {"k": 3})
    assert answer == {"ok": True, "error": None, "policy": {"name": "fixed", "params": {"k": 3}}}
    assert loop.run(2) == [3, 3]
    assert loop.report().policy == "fixed"


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("fxied", {}, "fxied"),
        ("fixed", {"k": -1}, "policy.params.k"),
        ("fixed", {"kk": 1}, "policy.params.kk"),
        ("no.such.module:Policy", {}, "no.such.module"),
        (OWN + "Unbuildable", {}, "no such file"),
        (7, {}, "name"),
    ],
)
def test_a_bad_policy_leaves_the_old_one_serving(name: Any, params: dict[str, Any], says: str) -> None:
    loop = Loop(new_host("fixed", k=2))
    answer = loop.host.set_policy(name, params)
    assert not answer["ok"]
    assert says in answer["error"]
    assert answer["policy"] == {"name": "fixed", "params": {"k": 2}}
    assert loop.run(2) == [2, 2]
    report = loop.report()
    assert report.fallbacks == {"reload_rejected": 1}
    assert says in (report.last_rejection or "")
    loop.host.set_policy("fixed", {"k": 1})
    assert loop.report().last_rejection is None


@pytest.mark.parametrize("name", ["fixed", "goodput", "aimd"])
@pytest.mark.parametrize("then", ["slo_goodput", "adaspec", "confidence"])
def test_a_policy_is_not_told_of_a_plan_it_did_not_make(name: str, then: str) -> None:
    """Drafts are verified a step later: under load every swap comes in between. The models learn from them."""
    loop = Loop(new_host(name))
    loop.run(3)
    drafting = loop.draft()
    assert drafting.k > 0
    before = loop.host.snapshot()["cost"]
    assert loop.host.set_policy(then, {"tune": True} if then == "confidence" else {})["ok"]
    loop.verify(drafting)
    assert loop.host.snapshot()["cost"] != before
    loop.run(20)
    assert loop.report().fallbacks == {}


def test_new_parameters_keep_what_was_learned() -> None:
    loop = Loop(new_host("adaspec", k=4, keep=0.5))
    loop.run(20)
    learned = loop.host.snapshot()["policy"]["state"]
    assert learned["mean_confidence"] != 0.6
    assert loop.host.set_policy("adaspec", {"k": 3, "keep": 0.5})["ok"]
    assert loop.host.snapshot()["policy"]["state"] == learned


def test_another_policy_starts_afresh_but_keeps_the_models() -> None:
    loop = Loop(new_host("fixed", k=2))
    loop.run(20)
    before = loop.host.snapshot()
    loop.host.set_policy("adaspec", {})
    after = loop.host.snapshot()
    assert after["policy"]["state"]["mean_confidence"] == 0.6
    assert (after["cost"], after["acceptance"]) == (before["cost"], before["acceptance"])


@pytest.mark.parametrize("name", sorted(set(CONTROLLERS) - WRAPPED - {"off"}))
def test_a_policy_goes_on_after_an_edit_of_its_length(name: str) -> None:
    loop = Loop(new_host(name))
    loop.run(30)
    fields = type(loop.host._guard.policy).Params.model_fields  # type: ignore[attr-defined]  # Policy is a protocol
    for k in (1, 4):
        assert loop.host.set_policy(name, {"k": k} if "k" in fields else {})["ok"]
        loop.run(30)
    assert loop.report().fallbacks == {}


def test_another_policy_inside_a_wrapper_starts_afresh() -> None:
    loop = Loop(new_host("probed", policy={"name": "fixed", "params": {"k": 2}}))
    loop.run(3)
    assert loop.host.set_policy("probed", {"policy": {"name": "adaspec"}})["ok"]
    loop.run(3)
    assert not any(kind.startswith("raised") for kind in loop.report().fallbacks)


def test_state_that_does_not_fit_is_left_behind_and_counted() -> None:
    loop = Loop(new_host(OWN + "Rich"))
    assert loop.host.set_policy(OWN + "Rich", {})["ok"]
    assert loop.run(2) == [1, 1]
    assert loop.report().fallbacks == {"state_not_restored": 1}


def test_faults_of_a_replaced_policy_stay_in_the_count() -> None:
    loop = Loop(new_host(OWN + "Faulty", hook="plan"))
    loop.step()
    loop.host.set_policy("fixed", {"k": 1})
    loop.step()
    assert loop.report().fallbacks == {"raised:ArithmeticError": 1}


def test_a_sibling_starts_from_a_snapshot() -> None:
    loop = Loop(new_host("adaspec", keep=0.5))
    loop.run(30)
    snapshot = json.loads(json.dumps(loop.host.snapshot()))
    sibling = new_host("adaspec", keep=0.5)
    sibling.restore(snapshot)
    assert json.loads(json.dumps(sibling.snapshot())) == snapshot


def test_a_sibling_with_another_policy_takes_only_the_models() -> None:
    loop = Loop(new_host("adaspec", keep=0.5))
    loop.run(30)
    sibling = new_host("fixed", k=2)
    sibling.restore(loop.host.snapshot())
    assert sibling.snapshot()["cost"] == loop.host.snapshot()["cost"]
    assert Loop(sibling).run(2) == [2, 2]


def test_an_outlook_grows_older_until_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr("deployments.engine.host.time.monotonic", lambda: now_s[0])
    host = new_host("off")
    assert host.current_outlook() is None
    host.exchange(LoadOutlook(at_s=1.0, age_s=0.25, waiting=3))
    now_s[0] += 2.0
    host.exchange(None)  # a report alone does not renew it
    outlook = host.current_outlook()
    assert outlook is not None
    assert (outlook.age_s, outlook.waiting) == (2.25, 3)


def test_a_report_before_the_first_step_is_complete() -> None:
    report = Loop(new_host("off")).report()
    assert (report.steps, report.batch, report.waiting) == (0, 0, None)
    assert report.accepted_at == report.reached_at == [0] * K_MAX
