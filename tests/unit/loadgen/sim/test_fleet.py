import numpy as np

from loadgen.sim.fleet import Simulation
from loadgen.sim.report import summary
from tests.unit.loadgen.sim.scenarios import policy, scenario

RUSH = {"kind": "poisson", "rps": 80}
SMALL = {"k_max": 5, "seats": 4, "token_budget": 64, "kv_tokens": 1600}


def test_replicas_share_the_load() -> None:
    done = Simulation(scenario(arrivals=RUSH, fleet={"replicas": 4}, policy=policy("fixed", k=2))).run()
    emitted = [r.tally.emitted_tokens for r in done.replicas]
    assert max(emitted) < 1.6 * min(emitted)


def test_admission_sheds_the_impatient_and_holds_the_patient() -> None:
    open_door = Simulation(scenario(arrivals=RUSH, engine=SMALL)).run()
    done = Simulation(scenario(arrivals=RUSH, engine=SMALL, fleet={"admit": True})).run()
    numbers = summary(done)["classes"]
    assert numbers["fast"]["shed"] > 0
    assert numbers["slow"]["shed"] == 0
    assert all(c["finished"] + c["shed"] == c["requests"] for c in numbers.values())
    assert done.record.attained.sum() > open_door.record.attained.sum()


def test_who_may_be_refused_is_once_its_first_token_would_come_too_late() -> None:
    """As at the service's door; served late it would only keep others waiting."""
    only = [{"name": "fast", "ttft_ms": 3000, "tpot_ms": 1000}]
    done = Simulation(scenario(arrivals=RUSH, engine=SMALL, duration_s=8, classes=only, fleet={"admit": True})).run()
    ttft_s = done.record.first_s - done.work.arrival_s
    assert np.isnan(ttft_s).any()  # those that were refused
    assert not (ttft_s > done.work.ttft_slo_s).any()


def test_scaling_starts_replicas_under_load() -> None:
    scaling = {"min_replicas": 1, "max_replicas": 4, "down_after_s": 1.0}
    fleet = {"scaling": scaling, "start_s": 0.5}
    done = Simulation(scenario(arrivals=RUSH, engine=SMALL, fleet=fleet, policy=policy("off"))).run()
    assert sum(r.tally.steps > 0 for r in done.replicas) > 1
    assert np.isfinite(done.record.finish_s).all()
    assert done.now < done.replica_s < 4 * done.now
