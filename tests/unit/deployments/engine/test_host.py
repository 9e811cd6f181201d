from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.engine.host import FRESH, Verified
from policies.api import DraftObservation, FloatArray, StepFeedback
from policies.models import Models, StepLoad
from policies.registry import CONTROLLERS
from tests.unit.deployments.engine.fake_loop import K_MAX, OWN, WRAPPED, Loop, new_host
from tests.unit.policies.worlds import linear_models, make_view


def params_of(name: str) -> dict[str, Any]:
    return {"policy": {"name": "fixed", "params": {"k": 2}}} if name in WRAPPED else {}


def test_off_never_drafts() -> None:
    loop = Loop(new_host("off"))
    assert loop.run(5) == [0] * 5
    report = loop.report()
    assert (report.k_steps, report.reasons, report.drafted_tokens) == ({0: 5}, {"off": 5}, 0)


def test_fixed_drafts_its_length_and_verifies_all_of_it() -> None:
    loop = Loop(new_host("fixed", k=2))
    assert [loop.step().lengths.tolist() for _ in range(3)] == [[2, 2, 2]] * 3
    report = loop.report()
    assert (report.drafted_tokens, report.verified_tokens, report.k_steps) == (18, 18, {2: 3})
    assert report.emitted_tokens == report.accepted_tokens + 9


def test_a_plain_function_is_a_policy() -> None:
    assert Loop(new_host(OWN + "two")).run(3) == [2, 2, 2]


@pytest.mark.parametrize("name", sorted(CONTROLLERS))
def test_every_shipped_policy_runs_without_a_fault(name: str) -> None:
    loop = Loop(new_host(name, **params_of(name)), temperature=[0.0, 0.7, 1.0])
    for sampled in (False, True):
        loop.run(40, sampled=sampled)
    report = loop.report()
    assert report.fallbacks == {}
    assert (report.steps, report.policy) == (80, name)


@settings(max_examples=25)
@given(st.lists(st.integers(0, K_MAX), min_size=3, max_size=3), st.lists(st.integers(0, 5), min_size=3, max_size=3))
def test_lengths_stay_inside_plan_and_limits(limits: list[int], by_request: list[int]) -> None:
    loop = Loop(new_host(OWN + "Answers", plan={"k": 3, "k_by_request": by_request}))
    drafting = loop.step(k_limit=np.array(limits))
    asked_too_much = max(by_request) > K_MAX
    room = [0, 0, 0] if asked_too_much else [min(3, a, b) for a, b in zip(limits, by_request, strict=True)]
    assert drafting.lengths.tolist() == room
    assert drafting.k == max(room)


def test_an_early_stop_is_counted_and_cuts_the_lengths() -> None:
    loop = Loop(new_host("confidence", threshold=1.0, k=4))
    drafting = loop.step()
    assert (drafting.k, drafting.lengths.tolist()) == (1, [1, 1, 1])
    assert loop.report().early_stops == 1


def test_after_an_early_stop_a_restricted_request_verifies_no_more_than_was_drafted() -> None:
    loop = Loop(new_host("confidence", threshold=1.0, k=4), temperature=[0.0, 0.7, 1.0])
    assert loop.step(sampled=True).lengths.tolist() == [1, 1, 1]
    assert loop.report().drafted_tokens == 3


def test_the_models_learn_whatever_the_policy() -> None:
    loop = Loop(new_host("fixed", k=2))
    before = loop.host.snapshot()
    loop.run(20)
    after = loop.host.snapshot()
    assert after["cost"] != before["cost"]
    assert after["acceptance"] != before["acceptance"]


class Pupil:
    """A cost model that only counts what it is asked and taught."""

    def __init__(self) -> None:
        self.asked = self.taught = 0

    def step_s(self, load: StepLoad, k: Any, verify_tokens: Any) -> FloatArray:
        self.asked += 1
        return np.asarray(0.02)

    def observe(self, seen: StepFeedback) -> None:
        self.taught += 1


def taught_by(name: str, batch: int = 3, **params: Any) -> tuple[Loop, Any]:
    host, pupil = new_host(name, **params), Pupil()
    models: Any = pupil
    host.models = Models(models, host.models.acceptance)
    return Loop(host, batch), pupil


def test_steps_without_drafts_that_are_alike_teach_every_eighth_time() -> None:
    loop, pupil = taught_by("fixed", k=0)
    loop.run(41)
    assert (pupil.taught, pupil.asked) == (6, 6)
    loop.batch, loop.temperature = 2, np.zeros(2)
    loop.step()
    assert pupil.taught == 7  # another batch says something new
    loop.host.set_policy("fixed", {"k": 1})
    loop.run(10)
    assert (pupil.taught, pupil.asked) == (17, 10)  # every step with drafts teaches, every fourth is predicted


def test_models_that_have_seen_many_drafts_learn_from_every_second_step() -> None:
    loop, pupil = taught_by("fixed", k=1)
    loop.run(FRESH)
    taught = pupil.taught
    assert taught >= FRESH - 1
    loop.run(20)
    assert pupil.taught == taught + 10
    for _ in range(4):
        loop.step(draft_lag_tokens=np.array([0, 5, 0]))
    assert pupil.taught == taught + 14  # what a draft's catching up costs is seen too rarely to leave any out


def test_a_step_whose_draft_takes_prompts_along_teaches() -> None:
    loop, pupil = taught_by("fixed", k=1)
    loop.run(FRESH + 10)
    taught = pupil.taught
    for _ in range(4):
        loop.step(prefill_tokens=9)
    assert pupil.taught == taught + 4


def test_a_single_plain_step_among_drafts_teaches() -> None:
    loop, pupil = taught_by("fixed", k=1)
    loop.run(3)
    loop.host.set_policy("fixed", {"k": 0})
    loop.run(2)
    loop.host.set_policy("fixed", {"k": 1})
    loop.run(1)
    loop.host.set_policy("fixed", {"k": 0})
    loop.run(1)
    assert pupil.taught == 3 + 1 + 1 + 1  # the second plain step in a row says nothing new


def test_a_prompt_beside_a_plain_step_always_teaches() -> None:
    loop, pupil = taught_by("fixed", batch=1, k=0)
    loop.run(2)
    drafting = loop.host.plan(make_view(1))
    loop.host.select(drafting, 0, {}, sampled=False, draft_s=0.0)
    none = np.zeros(1, np.int64)
    loop.host.feedback(drafting, Verified(np.arange(1), none, none, 9, 0.02, 0.03, idle=False))
    assert (pupil.taught, pupil.asked) == (2, 1)


def test_feedback_knows_only_the_requests_that_are_still_there() -> None:
    host = new_host(OWN + "Answers")
    loop = Loop(host)
    drafting = loop.step()
    rows, one = np.array([2]), np.array([1])
    host.feedback(drafting, Verified(rows, one, one, 5, 0.02, 0.03, idle=True))
    seen = host._guard.policy.seen[-1]  # type: ignore[attr-defined]  # Answers records
    assert (seen.request_ids, seen.drafted.tolist(), seen.prefill_tokens, seen.idle) == (("r2",), [3], 5, True)
    assert seen.features["top1"].shape == (1, 3)


def test_where_drafts_are_sampled_a_selection_counts_only_at_temperature_0() -> None:
    loop = Loop(new_host(OWN + "Answers", lengths=[1, 1, 1]), temperature=[0.0, 0.7, 1.0])
    assert loop.step(sampled=True).lengths.tolist() == [1, 3, 3]
    assert loop.step(sampled=False).lengths.tolist() == [1, 1, 1]


def test_a_restricted_request_hides_the_probability_of_its_own_token() -> None:
    host = new_host(OWN + "Answers")
    Loop(host, temperature=[0.0, 0.7, 0.0]).step(sampled=True)
    (bundle,) = host._guard.policy.shown  # type: ignore[attr-defined]  # Answers records
    assert bundle.restricted.tolist() == [False, True, False]
    assert np.isnan(bundle.features["sampled_p"]).all(axis=1).tolist() == [False, True, False]
    assert not np.isnan(bundle.features["top1"]).any()


def test_restricted_requests_follow_the_cut_and_the_others_the_selection() -> None:
    cut = {"budget_tokens": 0}
    loop = Loop(new_host(OWN + "Answers", cut=cut, lengths=[1, 1, 1]), temperature=[0.0, 0.7, 0.0])
    assert loop.step(sampled=True).lengths.tolist() == [1, 0, 1]


def test_a_cut_brings_the_feature_it_needs() -> None:
    loop = Loop(new_host("fixed", k=2))
    assert loop.host.needs(loop.step()) == frozenset()
    loop = Loop(new_host("adaspec", k=2), temperature=1.0)
    assert "top1" in loop.host.needs(loop.step(sampled=True))


CHEAP = {"k": 4, "prior_confidence": 0.95}
LAST_SLOT_DOUBTED = 0.3


def first_token_is_0(name: str, params: dict[str, Any], *, stops: bool) -> float:
    """Of request A, exactly: target (.5, .5), draft (.8, .2), whose later slots are doubted after 0 and sure after 1.

    Beside it a request that is sure throughout. `stops`: the hooks are asked whatever `may_stop` says.
    """
    total = 0.0
    for token, drawn in ((0, 0.8), (1, 0.2)):
        later = LAST_SLOT_DOUBTED if token == 0 else 0.995
        top1 = np.array([[0.8, later, later, later], [0.995] * 4])
        verified = lengths_of(name, params, top1, stops=stops)[0]
        accepted = min(1.0, 0.5 / drawn) if verified else 0.0
        otherwise = 0.0 if verified else 0.5  # of the residual, which has no 0 left, or of the target
        total += drawn * (accepted * (token == 0) + (1 - accepted) * otherwise)
    return total


def lengths_of(name: str, params: dict[str, Any], top1: FloatArray, *, stops: bool) -> list[int]:
    free = dict.fromkeys(
        ("target_alpha_s", "request_s", "draft_alpha_s", "draft_gamma_s", "draft_start_s", "catch_up_s", "overhead_s"),
        0.0,
    )
    models = linear_models(target_gamma_s=1e-3, target_delta_s=1.1e-3, draft_delta_s=1e-6, **free)
    host = new_host(name, models=models, **params)
    drafting = host.plan(make_view(2, temperature=np.ones(2), k_max=K_MAX, k_limit=np.full(2, K_MAX)))
    k = drafting.k
    for j in range(drafting.k - 1):
        asked = stops or host.may_stop(drafting, sampled=True)
        if asked and not host.go_on(DraftObservation(j, {"top1": top1[:, j]}, 1e-3)):
            k = j + 1
            break
    lengths = host.select(drafting, k, {"top1": top1[:, :k].copy()}, sampled=True, draft_s=1e-3)
    return [int(length) for length in lengths]


@pytest.mark.parametrize(("name", "params"), [("adaspec", CHEAP), ("adaspec", {**CHEAP, "prune": False})])
def test_no_draft_is_stopped_where_a_cut_ranks_its_sampled_slots(name: str, params: dict[str, Any]) -> None:
    assert first_token_is_0(name, params, stops=False) == pytest.approx(0.5)


def test_stopping_it_would_move_the_output_distribution() -> None:
    """The control: how many slots there are to rank would depend on the token of the first."""
    assert first_token_is_0("adaspec", CHEAP, stops=True) == pytest.approx(0.6)


def test_argmax_drafts_may_be_stopped_whatever_the_cut() -> None:
    host = new_host("adaspec", k=4)
    drafting = host.plan(make_view(2, temperature=np.ones(2), k_max=K_MAX, k_limit=np.full(2, K_MAX)))
    assert host.may_stop(drafting, sampled=False)
    assert not host.may_stop(drafting, sampled=True)


def test_what_a_policy_is_shown_of_a_draft_is_read_only() -> None:
    """The plan's cut is applied to it afterwards: what is written there would decide over a sampled token."""
    host = new_host(OWN + "Answers")
    Loop(host).step()
    (bundle,) = host._guard.policy.shown  # type: ignore[attr-defined]  # Answers records
    with pytest.raises(ValueError, match="read-only"):
        bundle.features["top1"][:] = 0.0


def test_drafts_are_verified_again_after_a_spell_in_which_none_paid() -> None:
    """`budget` drafts at every step: what it verifies nothing of says nothing, so what was learned has to fade."""
    loop = Loop(new_host("budget"), batch=8)
    loop.token_s = 6e-3
    loop.chance = 0.0
    loop.run(300)
    assert all(not loop.step().lengths.any() for _ in range(5))
    loop.chance = 1.0
    loop.run(1000)
    assert np.mean([loop.step().lengths.sum() for _ in range(50)]) > 8


@pytest.mark.parametrize(("name", "params"), [("off", {}), ("fixed", {"k": 2})])
def test_a_model_that_is_right_is_shown_to_be(name: str, params: dict[str, Any]) -> None:
    """Though prompts come and go: which step they join is not known when it is planned."""
    models = linear_models(target_gamma_s=1e-3)
    loop = Loop(new_host(name, models=models, **params))
    for step in range(200):
        prompt = 200 if step % 5 == 0 else 0
        drafting = loop.draft(prefill_tokens=200 if step % 5 == 1 else 0, context_tokens=np.full(3, 100))
        lengths = drafting.lengths
        step_s = float(models.cost.step_s(StepLoad(3, 300, prompt), drafting.k, lengths.sum()))
        none = np.zeros(3, np.int64)
        seen = Verified(np.arange(3), lengths, none, prompt, step_s, step_s, idle=False)
        loop.host.feedback(drafting, seen)
    assert loop.report().predicted_over_measured == pytest.approx(1.0)
