import numpy as np
import pytest

from deployments.engine.telemetry import MOST_REASONS, Telemetry
from policies.api import StepPlan
from tests.unit.policies.worlds import feedback_of, make_view


def test_acceptance_is_counted_by_position_among_those_reached() -> None:
    telemetry = Telemetry(k_max=4)
    #                     all accepted, rejected at 1, rejected at 0, nothing verified
    seen = feedback_of(make_view(4), 3, verified=[3, 3, 2, 0], accepted=[3, 1, 0, 0])
    telemetry.verified(seen, predicted_s=None)
    report = telemetry.report(0.0)
    assert report.accepted_at == [2, 1, 1, 0]
    assert report.reached_at == [3, 2, 1, 0]
    assert (report.verified_tokens, report.accepted_tokens) == (8, 4)


def test_counts_add_up_over_steps() -> None:
    telemetry = Telemetry(k_max=4)
    for k, drafted in ((2, 6), (0, 0), (2, 4)):
        telemetry.stepped(5)
        telemetry.planned(make_view(3), StepPlan(k=k, reason="why" if k else "off"))
        telemetry.drafted(k, drafted, 0.5, stopped_early=drafted == 4)
    telemetry.caught_up(7)
    report = telemetry.report(1.0)
    assert (report.steps, report.emitted_tokens, report.drafted_tokens) == (3, 15, 10)
    assert (report.k_steps, report.k_last, report.early_stops) == ({2: 2, 0: 1}, 2, 1)
    assert report.switches == 3
    assert report.reasons == {"why": 2, "off": 1}
    assert (report.catch_ups, report.catch_up_tokens, report.draft_s) == (1, 7, 1.5)


def test_a_period_the_engine_waited_in_teaches_no_times() -> None:
    telemetry = Telemetry(k_max=4)
    view = make_view(2)
    telemetry.verified(feedback_of(view, 0, [0, 0], [0, 0], step_s=0.04), predicted_s=0.02)
    telemetry.verified(feedback_of(view, 0, [0, 0], [0, 0], step_s=9.0, idle=True), predicted_s=0.02)
    report = telemetry.report(0.0)
    assert report.step_s == report.step_s_recent == 0.04
    assert report.predicted_over_measured == 0.5
    assert report.verify_s == pytest.approx(0.06)


def test_recent_means_move_towards_the_newest() -> None:
    telemetry = Telemetry(k_max=4)
    for step_s in (0.1, 0.2):
        telemetry.verified(feedback_of(make_view(1), 0, [0], [0], step_s=step_s), predicted_s=None)
    assert telemetry.report(0.0).step_s_recent == pytest.approx(0.105)
    assert telemetry.report(0.0).predicted_over_measured is None


def test_gauges_are_those_of_the_last_plan() -> None:
    telemetry = Telemetry(k_max=4)
    telemetry.planned(make_view(5, waiting=1), StepPlan(k=0))
    view = make_view(2, context_tokens=np.array([3, 4]), waiting=9, waiting_prefill_tokens=70, free_kv_fraction=0.5)
    telemetry.planned(view, StepPlan(k=0))
    report = telemetry.report(0.0)
    assert (report.batch, report.context_tokens, report.waiting) == (2, 7, 9)
    assert (report.waiting_prefill_tokens, report.free_kv_fraction) == (70, 0.5)


def test_what_the_scheduler_did_adds_up() -> None:
    telemetry = Telemetry(k_max=4)
    telemetry.scheduled(2, 0)
    telemetry.scheduled(0, 64)
    telemetry.stepped(3, prompt_chunks=1)
    report = telemetry.report(0.0)
    assert (report.preemptions, report.prefix_hit_tokens, report.prompt_chunks) == (2, 64, 1)


def test_reasons_that_never_come_again_do_not_pile_up() -> None:
    telemetry = Telemetry(k_max=4)
    for step in range(200):
        telemetry.planned(make_view(1), StepPlan(k=0, reason="off" if step % 2 else f"step {step}"))
    reasons = telemetry.report(0.0).reasons
    assert len(reasons) == MOST_REASONS + 1
    assert (reasons["off"], sum(reasons.values())) == (100, 200)
