from hypothesis import given
from hypothesis import strategies as st

from policies.fleet.admit import AdmitSettings, admit, deadline_s
from policies.fleet.views import RequestView
from tests.unit.policies.fleet.fleets import fleet

SETTINGS = AdmitSettings(queue_limit=2)


def test_an_idle_fleet_serves() -> None:
    decision = admit(fleet(2), RequestView(100, 1.0, 0.02), 0, SETTINGS)
    assert (decision.action, decision.reason) == ("serve", "fits")


def test_a_full_batch_sheds_a_strict_class_and_queues_a_patient_one() -> None:
    view = fleet(batch=20, step_s=0.03)
    assert admit(view, RequestView(10, 1.0, 0.02), 0, SETTINGS).reason == "tpot"
    patient = RequestView(10, 1.0, 0.02, overload="queue")
    assert admit(view, patient, 1, SETTINGS).action == "queue"
    assert admit(view, patient, 2, SETTINGS).action == "shed"


def test_a_class_that_sheds_waits_where_it_would_still_make_its_ttft() -> None:
    view = fleet(batch=32, residence_s=3.2)  # a seat frees every 100 ms
    soon, late = RequestView(10, 0.5), RequestView(10, 0.1)
    assert admit(view, soon, 0, AdmitSettings(seats_factor=1)).action == "queue"
    assert admit(view, late, 0, AdmitSettings(seats_factor=1)).action == "shed"
    assert admit(view, soon, 9, AdmitSettings(seats_factor=1)).action == "shed"  # behind nine others


def test_an_objective_an_idle_replica_would_miss_does_not_shut_a_request_out() -> None:
    assert admit(fleet(), RequestView(10, 1.0, 0.001), 0, SETTINGS).reason == "infeasible"
    assert admit(fleet(), RequestView(5000, 1.0, 1.0), 0, SETTINGS).reason == "infeasible"


@given(st.floats(1e-4, 10), st.floats(1e-5, 1), st.floats(0, 0.1), st.floats(0, 0.1))
def test_an_idle_replica_serves_whatever_is_asked(
    ttft_slo_s: float, tpot_slo_s: float, step_s: float, more_s: float
) -> None:
    view = fleet(step_s=step_s, step_per_request_s=more_s)
    assert admit(view, RequestView(100, ttft_slo_s, tpot_slo_s), 0, SETTINGS).action == "serve"


def test_retry_after_is_the_excess_of_the_backlog() -> None:
    view = fleet(batch=10, backlog_tokens=20_000, residence_s=0.1)
    shed = admit(view, RequestView(1000, 5.0, 1.0), 0, SETTINGS)
    assert (shed.action, shed.reason) == ("shed", "ttft")
    assert 16 <= shed.retry_after_s <= 18  # 21 s of prompts, 5 s allowed


def test_no_kv_no_seat_no_replica() -> None:
    request = RequestView(10)
    assert admit(fleet(free_kv_fraction=0.0), request, 0, SETTINGS).reason == "kv"
    assert admit(fleet(batch=64), request, 0, SETTINGS).reason == "seats"
    assert admit(fleet(0), request, 0, SETTINGS).reason == "no_replica"


@given(
    batch=st.integers(0, 200),
    backlog=st.integers(0, 10**6),
    residence_s=st.floats(0, 1e4),
    ttft_slo_s=st.floats(1e-3, 1e3),
    tpot_slo_s=st.floats(1e-4, 10),
)
def test_retry_after_is_positive_and_bounded(
    batch: int, backlog: int, residence_s: float, ttft_slo_s: float, tpot_slo_s: float
) -> None:
    view = fleet(batch=batch, backlog_tokens=backlog, residence_s=residence_s)
    decision = admit(view, RequestView(100, ttft_slo_s, tpot_slo_s), 0, SETTINGS)
    assert (decision.route is not None) == (decision.action == "serve")
    if decision.action == "shed":
        assert SETTINGS.min_retry_s <= decision.retry_after_s <= SETTINGS.max_retry_s


def test_the_door_opens_by_priority_then_deadline() -> None:
    low, urgent, vip = RequestView(1, 5.0), RequestView(1, 1.0), RequestView(1, 9.0, priority=1)
    keys = [deadline_s(0.0, low), deadline_s(2.0, urgent), deadline_s(3.0, vip)]
    assert sorted(keys) == [keys[2], keys[1], keys[0]]
