from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from policies.api import HOLDS, FloatArray, StepView
from policies.estimators.calibrated import Calibrated
from policies.estimators.cost import LinearCoefficients, LinearCost
from policies.estimators.slo import attained
from policies.exchange import LoadOutlook
from policies.models import Models, StepLoad
from tests.unit.policies.worlds import Step, accept, linear_models, make, make_view, run_step

pytestmark = pytest.mark.unit


def play(policy: Any, view: StepView, chance: float, steps: int = 40, seed: int = 0) -> list[Step]:
    """Steps of the same view; the draft is `chance` sure of every token and as often right."""
    rng = np.random.default_rng(seed)
    confidence = np.full((view.batch, 8), chance)
    return [run_step(policy, view, confidence, accept(rng, confidence, 8)) for _ in range(steps)]


def settled_k(chance: float, batch: int, models: Models | None = None, **params: Any) -> float:
    """Mean K once the policy knows its draft, but for steps that only see what a plain one takes."""
    policy = make("slo_goodput", models or linear_models(), **params)
    return float(np.mean([step.k for step in decided(play(policy, make_view(batch), chance)[20:])]))


def decided(steps: list[Step]) -> list[Step]:
    return [step for step in steps if step.k or step.plan.reason != "probe"]


def test_drafts_far_when_it_pays_and_not_at_all_when_it_cannot() -> None:
    assert settled_k(0.95, 1) == 8
    assert settled_k(0.1, 32, probe_share=0) == 0


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_dearer_compute_never_raises_k(batch: int) -> None:
    gammas = (1e-5, 3e-4, 1.6e-3, 4e-3, 1e-2)
    ks = [settled_k(0.7, batch, linear_models(target_gamma_s=gamma), probe_share=0) for gamma in gammas]
    assert ks == sorted(ks, reverse=True)
    assert ks[0] > ks[-1]


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_higher_acceptance_never_lowers_k(batch: int) -> None:
    ks = [settled_k(chance, batch, probe_share=0) for chance in (0.1, 0.3, 0.5, 0.7, 0.85, 0.97)]
    assert ks == sorted(ks)
    assert ks[0] < ks[-1]


class Disliked(LinearCost):
    """A pass of two tokens takes 1.4 times as long as its neighbours say."""

    def step_s(self, load: StepLoad, k: ArrayLike, verify_tokens: ArrayLike) -> FloatArray:
        near = np.maximum(1.0 - np.abs(np.add(verify_tokens, load.batch) - 2.0), 0.0)
        return np.asarray(super().step_s(load, k, verify_tokens) * (1.0 + 0.4 * near))


def drafted(cost: LinearCost) -> set[int]:
    """Lengths to which one request's unsure drafts go, once the policy knows them."""
    policy, rng = make("slo_goodput", Models(cost, Calibrated(8)), k=4), np.random.default_rng(0)
    chances = rng.beta(1.0, 2.0, (200, 1, 8))
    return {run_step(policy, make_view(1), row, accept(rng, row, 8)).k for row in chances[100:]}


def test_drafting_does_not_stop_at_a_size_that_going_on_avoids() -> None:
    coefficients = LinearCoefficients(target_gamma_s=1e-4)
    assert 1 in drafted(LinearCost(coefficients))
    found = drafted(Disliked(coefficients))
    assert 1 not in found
    assert found >= {2, 3}


@pytest.mark.parametrize("chance", [0.3, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("batch", [1, 4, 16, 32])
def test_its_expected_rate_is_that_of_the_best_uniform_k(chance: float, batch: int) -> None:
    models = linear_models()
    policy = make("slo_goodput", models)
    steps = play(policy, make_view(batch), chance)[20:]
    load = load_of(batch)
    ks = np.arange(9)
    rates = batch * np.cumsum(chance**ks) / models.cost.step_s(load, ks, ks * batch)
    tokens, seconds = 0.0, 0.0
    for step in steps:
        tokens += batch + float(sum((chance ** np.arange(1, n + 1)).sum() for n in step.lengths))
        seconds += float(models.cost.step_s(load, step.k, int(step.lengths.sum())))
    assert tokens / seconds >= 0.97 * rates.max()


def load_of(batch: int) -> StepLoad:
    return StepLoad.of(make_view(batch))


def test_stops_once_the_next_slot_is_not_worth_its_time() -> None:
    policy = make("slo_goodput", linear_models())
    play(policy, make_view(2), 0.9)
    falling = np.tile([0.9, 0.9, 0.05, 0.9, 0.9, 0.9, 0.9, 0.9], (2, 1))
    assert run_step(policy, make_view(2), falling).k == 3
    uniform = make("slo_goodput", linear_models(), early_stop=False)
    play(uniform, make_view(2), 0.9)
    assert not uniform.stops_early


def test_prunes_what_does_not_pay() -> None:
    policy = make("slo_goodput", linear_models())
    play(policy, make_view(8), 0.8)
    mixed = np.vstack([np.full((4, 8), 0.95), np.full((4, 8), 0.05)])
    lengths = run_step(policy, make_view(8), mixed).lengths
    assert lengths[:4].min() >= 2
    assert lengths[4:].max() == 0


def test_requests_behind_their_slo_come_first_and_shorten_the_step() -> None:
    policy = make("slo_goodput", linear_models())
    play(policy, make_view(8), 0.7)
    confidence = np.full((8, 8), 0.7)
    calm = run_step(policy, make_view(8), confidence)
    slo = np.full(8, np.inf)
    slo[7] = 0.03
    late = make_view(8, tpot_slo_s=slo, elapsed_decode_s=np.full(8, 0.5))
    hurried = run_step(policy, late, confidence)
    assert hurried.lengths[7] >= calm.lengths[7]
    assert hurried.lengths.sum() < calm.lengths.sum()


def test_when_all_are_behind_nobody_is_preferred() -> None:
    policy = make("slo_goodput", linear_models())
    play(policy, make_view(8), 0.7)
    confidence = np.full((8, 8), 0.7)
    calm = run_step(policy, make_view(8), confidence)
    late = make_view(8, tpot_slo_s=np.full(8, 0.01), elapsed_decode_s=np.full(8, 5.0))
    assert (run_step(policy, late, confidence).lengths == calm.lengths).all()


def outlook(expected: float, age_s: float = 0.1) -> LoadOutlook:
    return LoadOutlook(at_s=0.0, age_s=age_s, expected_batch_p50=expected, expected_batch_p90=expected)


def k_with(seen: LoadOutlook | None) -> float:
    policy = make("slo_goodput", linear_models())
    view = make_view(4)
    play(policy, view, 0.8)
    return float(np.mean([step.k for step in play(policy, make_view(4, outlook=seen), 0.8, 10)]))


def test_k_falls_before_the_expected_batch_is_there() -> None:
    assert k_with(outlook(32)) <= k_with(None) - 1


def test_an_old_outlook_one_of_less_load_and_ordinary_ups_change_nothing() -> None:
    assert k_with(outlook(32, age_s=2.5)) == k_with(outlook(1)) == k_with(outlook(8)) == k_with(None)


def test_plain_decoding_holds_and_what_it_held_for_is_saved_for_probes() -> None:
    models = linear_models()
    view = make_view(32)

    def probes(steps: int, apart: int) -> int:
        policy = make("slo_goodput", models, probe_share=0.002)
        play(policy, view, 0.05, 100)
        views = [replace(view, step=i) for i in range(0, steps, apart)]
        seen = [run_step(policy, v, np.full((32, 8), 0.05), np.zeros(32, np.int64)) for v in views]
        assert {step.plan.holds for step in seen if step.plan.reason == "plain"} == {HOLDS}
        assert {step.plan.holds for step in seen if step.plan.reason == "probe"} <= {0}
        return sum(step.plan.reason == "probe" for step in seen)

    each = probes(4000, 1)
    assert each > 2
    assert probes(4000, 8) == pytest.approx(each, rel=0.15)


def test_probes_are_paid_from_a_share_of_the_time() -> None:
    models = linear_models()
    policy = make("slo_goodput", models, probe_share=0.02)
    steps = play(policy, make_view(32), 0.05, 2000)[100:]
    probes = [step for step in steps if step.plan.reason == "probe"]
    load = load_of(32)
    plain_s = float(models.cost.step_s(load, 0, 0))
    extra_s = sum(float(models.cost.step_s(load, s.k, int(s.lengths.sum()))) - plain_s for s in probes)
    assert probes
    assert 0.01 <= extra_s / (plain_s * len(steps)) <= 0.02
    assert {int(s.lengths.sum()) for s in probes} == {8}  # two tokens of four requests


def test_no_probe_when_it_would_break_an_slo() -> None:
    policy = make("slo_goodput", linear_models())
    plain_s = float(linear_models().cost.step_s(load_of(32), 0, 0))
    elapsed = 9 * plain_s
    tight = make_view(32, tpot_slo_s=np.full(32, 1.001 * plain_s), elapsed_decode_s=np.full(32, elapsed))
    play(policy, make_view(32), 0.05, 40)
    assert attained(tight).all()
    assert {step.plan.reason for step in play(policy, tight, 0.05, 300)} == {"plain"}
    loose = make_view(32, tpot_slo_s=np.full(32, 2 * plain_s), elapsed_decode_s=np.full(32, elapsed))
    assert "probe" in {step.plan.reason for step in play(policy, loose, 0.05, 300)}


def test_a_probe_finds_out_that_drafting_pays_again() -> None:
    policy = make("slo_goodput", linear_models())
    play(policy, make_view(16), 0.05, 60)
    assert play(policy, make_view(16), 0.05, 5)[-1].k == 0
    ks = [step.k for step in decided(play(policy, make_view(16), 0.95, 200))]
    assert min(ks[-20:]) >= 4


def test_after_a_burst_of_hard_tokens_it_drafts_again_unprobed() -> None:
    """All that is remembered is hard then, and without drafts nothing else is seen."""
    policy = make("slo_goodput", linear_models(), probe_share=0)
    play(policy, make_view(16), 0.9, 200)
    hard = play(policy, make_view(64), 0.05, 20)
    assert decided(hard)[-1].k == 0
    assert decided(play(policy, make_view(16), 0.9, 80))[-1].k > 0


def test_what_a_plain_step_takes_is_looked_at_while_drafting_pays() -> None:
    """The rest is worked out from steps that verify: their start would count as part of every step."""
    steps = play(make("slo_goodput", linear_models()), make_view(2), 0.9, 300)
    plain = [i for i, step in enumerate(steps) if step.k == 0]
    assert 4 <= len(plain) <= 6
    assert {steps[i].plan.reason for i in plain} == {"probe"}


def test_one_hard_request_does_not_end_drafting_for_the_next() -> None:
    """One request's 100 steps are a small part of what is remembered."""
    policy = make("slo_goodput", linear_models(), probe_share=0)
    play(policy, make_view(1), 0.8, 300)
    assert decided(play(policy, make_view(1), 0.05, 100))[-1].k > 0


def test_a_lasting_episode_makes_a_dear_start_worth_its_while() -> None:
    models = linear_models(catch_up_s=1e-3)
    behind = make_view(4, draft_lag_tokens=np.full(4, 100))  # 0.4 s to catch up
    brief = make("slo_goodput", models, dwell_steps=1)
    lasting = make("slo_goodput", models, dwell_steps=1000)
    assert brief.plan(behind).k == 0
    assert lasting.plan(behind).k > 0


@pytest.mark.parametrize("rate", [0.3, 0.7])
def test_prompts_in_the_step_just_done_change_nothing(rate: float) -> None:
    plans = []
    for prefill_tokens in (0, 500):
        policy = make("slo_goodput", linear_models())
        play(policy, make_view(24), rate)
        plans.append(policy.plan(make_view(24, prefill_tokens=prefill_tokens)).k)
    assert plans[0] == plans[1]


def test_a_small_gain_starts_nothing_and_a_smaller_one_goes_on() -> None:
    policy = make("slo_goodput", linear_models(), margin=0.5)
    assert policy._worth_drafting(149.0, 100.0) is False
    assert policy._worth_drafting(151.0, 100.0) is True
    assert policy._worth_drafting(126.0, 100.0) is True
    assert policy._worth_drafting(124.0, 100.0) is False


def test_requests_with_sampled_drafts_get_the_threshold_in_the_plan() -> None:
    policy = make("slo_goodput", linear_models())
    play(policy, make_view(4), 0.9)
    assert policy.plan(make_view(4)).cut is None
    cut = policy.plan(make_view(4, temperature=np.full(4, 0.7))).cut
    assert 0 < cut.min_survival < 1
