from typing import Any

import pytest

from deployments.demand import Demand
from deployments.settings import MonitorConfig
from deployments.slo_status import ClassCount, DoorReport

CONFIG = MonitorConfig(forget_after_s=5, attainment_memory_s=10)


def report(door: str = "d", **counts: Any) -> DoorReport:
    return DoorReport(door=door, classes={"a": ClassCount(ttft_ms=None, tpot_ms=50, **counts)})


def run(demand: Demand, rate: int, ticks: int, at_s: float = 0.0, **counts: int) -> float:
    for i in range(ticks):
        at_s += 0.25
        grown: dict[str, Any] = {name: value * i for name, value in counts.items()}
        demand.heard(report(arrived=rate * i, prompt_tokens=100.0 * rate * i, **grown), at_s, 10)
        demand.tick(at_s, CONFIG)
    return at_s


def test_arrivals_attainment_and_prompts_are_learned() -> None:
    demand = Demand(0.0)
    run(demand, 5, 40, finished=4, attained=3)
    assert demand.arrivals.forecast_rps(1) == pytest.approx(20, rel=0.2)
    assert demand.attainment() == {"a": pytest.approx(0.75)}
    assert demand.worst() == pytest.approx(0.75)
    assert demand.prompt_tokens == pytest.approx(100, rel=0.05)
    assert demand.tightest_tpot_s() == 0.05


def test_a_class_nobody_uses_sets_no_pace() -> None:
    demand = Demand(0.0)
    run(demand, 5, 4)
    assert demand.tightest_tpot_s() == float("inf")


def test_a_new_monitor_counts_nothing_from_before_it_and_a_new_door_not_backwards() -> None:
    demand = Demand(0.0)
    demand.heard(report(arrived=10_000, finished=10_000), 0.25, 10)
    demand.heard(report(arrived=3, finished=3), 0.5, 10)
    demand.tick(0.5, CONFIG)
    assert demand.arrivals.forecast_rps(1) == 0
    assert demand.attainment() == {}


def test_doors_add_up_and_a_silent_one_is_forgotten() -> None:
    demand = Demand(0.0)
    demand.heard(report("d", arrived=2, waiting=1), 1.0, 10)
    demand.heard(report("e", arrived=3, waiting=4), 4.0, 10)
    assert (demand.classes()["a"].arrived, demand.waiting()) == (5, 5)
    demand.tick(7.0, CONFIG)
    assert demand.waiting() == 4
