import json

import pytest

from deployments.observe.frames import frame, reload_of, replica_frame
from deployments.observe.outcomes import Recent
from deployments.problems import Problem
from deployments.settings import SloClass
from deployments.status import FleetStatus, Rejection, ReplicaStatus, SeenReplica
from policies.exchange import LoadOutlook, ReplicaReport
from policies.registry import PolicySpec

EARLIER = ReplicaReport(at_s=10, steps=5, k_steps={2: 5}, reasons={"draft": 5}, emitted_tokens=10, drafted_tokens=10)
LATER = ReplicaReport(
    at_s=12,
    steps=15,
    batch=3,
    k_steps={0: 4, 2: 5, 4: 6},
    reasons={"draft": 11, "plain": 4},
    emitted_tokens=50,
    drafted_tokens=34,
    accepted_tokens=12,
    accepted_at=[8, 4],
    reached_at=[10, 6],
    decide_s=1e-3,
    step_s_recent=0.02,
    predicted_over_measured=1.5,
)


def status(report: ReplicaReport, policy: str = "fixed", **more: object) -> ReplicaStatus:
    given = {"replica": "r1", "pid": 1, "started_at_s": 5.0, "policy": PolicySpec(name=policy), "report": report}
    return ReplicaStatus.model_validate({**given, **more})


def seen(report: ReplicaReport) -> SeenReplica:
    return SeenReplica(status=status(report), age_s=0.1, stale=False)


def test_rates_are_between_the_two_reports() -> None:
    shown = replica_frame(seen(LATER), EARLIER)
    assert shown.k == pytest.approx(2.4)
    assert shown.k_share == {0: 0.4, 4: 0.6}
    assert shown.reasons == {"draft": 0.6, "plain": 0.4}
    assert shown.acceptance == 0.75
    assert shown.waste == 0.5
    assert (shown.tokens_per_s, shown.decide_us) == (20, 100)
    assert (shown.step_ms, shown.predicted_ms) == (20, 30)


def test_without_an_earlier_report_there_are_no_rates() -> None:
    shown = replica_frame(seen(LATER), None)
    assert (shown.k, shown.acceptance, shown.waste, shown.tokens_per_s) == (None, None, None, 0)


def test_an_engine_that_started_anew_shows_nothing_negative() -> None:
    shown = replica_frame(seen(EARLIER), LATER)
    assert (shown.k, shown.tokens_per_s) == (None, 0)


def test_an_idle_engine_has_no_batch() -> None:
    assert replica_frame(seen(LATER), LATER).batch == 0


def test_a_frame_is_json_and_has_every_class() -> None:
    view = FleetStatus(at_s=12.0, replicas=(seen(LATER),), outlook=LoadOutlook(at_s=12.0, arrival_rps=3))
    recent = {"chat": Recent(2, 0.5, 10.0, 20.0, 5.0, None, 7.0)}
    classes = (SloClass(name="chat", ttft_ms=100), SloClass(name="batch"))
    made = json.loads(json.dumps(frame(view, {"r1": EARLIER}, classes, {"chat": {"shed": 3}}, recent, {"batch": 4})))
    assert made["classes"]["chat"] | {"attained": 0.5, "shed": 3, "ttft_slo_ms": 100} == made["classes"]["chat"]
    assert made["classes"]["batch"]["waiting"] == 4
    assert made["replicas"][0]["k"] == pytest.approx(2.4)


def test_reloads() -> None:
    first, refused = status(LATER), Rejection(at_s=20, problems=(Problem(field="policy.name", value="x", fix="y"),))
    assert reload_of(first, None) == {"t": 5.0, "replica": "r1", "ok": True, "text": "fixed"}
    assert reload_of(first, first) is None
    applied = reload_of(status(LATER, "off"), first)
    assert applied is not None
    assert applied["text"] == "off"
    rejected = reload_of(status(LATER, reloads_rejected=1, last_rejection=refused), first)
    assert rejected is not None
    assert (rejected["ok"], rejected["t"]) == (False, 20)
