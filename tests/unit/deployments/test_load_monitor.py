import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from deployments import load_monitor
from deployments.load_monitor import LoadMonitor
from deployments.slo_status import ClassCount, DoorReport
from deployments.status import ReplicaStatus
from policies.exchange import ReplicaReport
from policies.registry import PolicySpec


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.jump_s = 0.0  # of the wall clock

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self.now_s + self.jump_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(load_monitor, "time", clock)
    return clock


def status(name: str, *, batch: int = 0, **more: Any) -> ReplicaStatus:
    report = ReplicaReport(at_s=0, batch=batch)
    given: dict[str, Any] = {"residence_s": 10, "seats": 8} | more
    return ReplicaStatus(replica=name, pid=1, started_at_s=0, policy=PolicySpec(name="off"), report=report, **given)


async def test_a_silent_replica_turns_stale_and_is_then_forgotten(clock: Clock) -> None:
    monitor = LoadMonitor()
    await monitor.reconfigure({"stale_after_s": 1, "forget_after_s": 5})
    await monitor.exchange(status("a"))
    clock.now_s += 2
    await monitor.exchange(status("b"))
    assert {s.status.replica: s.stale for s in (await monitor.fleet()).replicas} == {"a": True, "b": False}
    clock.now_s += 4
    assert [s.status.replica for s in (await monitor.fleet()).replicas] == ["b"]


async def test_a_replica_that_leaves_is_gone_at_once(clock: Clock) -> None:
    monitor = LoadMonitor()
    await monitor.exchange(status("a"))
    await monitor.exchange(status("b"))
    await monitor.leave("a")
    await monitor.leave("unknown")
    assert [s.status.replica for s in (await monitor.fleet()).replicas] == ["b"]


async def test_the_outlook_sees_this_replicas_batch_and_the_fleets_arrivals(clock: Clock) -> None:
    monitor = LoadMonitor()
    for tick in range(40):
        await monitor.exchange(status("a", batch=4, received=5 * tick))
        outlook = (await monitor.exchange(status("b", batch=2, received=5 * tick))).outlook
        clock.now_s += 0.25
    assert outlook.expected_batch_p50 > 2
    assert (await monitor.fleet()).outlook.arrival_rps == pytest.approx(40, rel=0.2)
    assert outlook.arrival_rps == pytest.approx(20, rel=0.2)


@pytest.mark.parametrize("jump_s", [-7200, 7200])
async def test_a_wall_clock_that_jumps_moves_no_forecast_and_forgets_nobody(clock: Clock, jump_s: float) -> None:
    even, jumped = [await figures_after(clock, jump) for jump in (0, jump_s)]
    assert jumped == pytest.approx(even)
    assert even[:2] == pytest.approx([20, 0.5], rel=0.2)


async def figures_after(clock: Clock, jump_s: float) -> list[float]:
    """Forecast and attainment after 20 s, the wall clock having jumped in the middle."""
    monitor = LoadMonitor()
    for tick in range(80):
        await monitor.exchange(status("a", batch=4, received=5 * tick))
        await monitor.door(door(5 * tick, finished=4 * tick, attained=2 * tick))
        clock.now_s += 0.25
        clock.jump_s = jump_s if tick >= 40 else 0
    slo = await monitor.slo()
    assert slo.outlook.at_s == clock.time()
    return [slo.arrival_rps, slo.classes["a"].attainment or 0, slo.outlook.arrival_rps, slo.desired_replicas]


async def test_a_restarted_monitor_counts_no_arrivals_from_before_it(clock: Clock) -> None:
    monitor = LoadMonitor()
    await monitor.exchange(status("a", received=10_000))
    clock.now_s += 0.25
    await monitor.exchange(status("a", received=10_000))
    clock.now_s += 0.25
    assert (await monitor.fleet()).outlook.arrival_rps == 0


async def test_a_restarted_replica_does_not_count_backwards(clock: Clock) -> None:
    monitor = LoadMonitor()
    await monitor.exchange(status("a", received=100))
    clock.now_s += 0.25
    assert (await monitor.exchange(status("a", received=1))).outlook.arrival_rps == 0


async def test_a_bad_config_is_shown_and_changes_nothing(clock: Clock) -> None:
    monitor = LoadMonitor()
    await monitor.reconfigure({"stale_after_s": -1})
    rejection = (await monitor.fleet()).last_rejection
    assert rejection is not None
    assert rejection.problems[0].field == "stale_after_s"


async def test_metrics_are_asked_for_with_the_next_report_and_given_to_everybody_who_waits(clock: Clock) -> None:
    monitor = LoadMonitor()
    assert not (await monitor.exchange(status("a"))).scrape
    waiting = [asyncio.ensure_future(monitor.expositions(5)) for _ in range(2)]
    await asyncio.sleep(0)
    assert (await monitor.exchange(status("a"))).scrape
    await monitor.expose("a", "text")
    assert await asyncio.gather(*waiting) == [{"a": "text"}] * 2
    assert not (await monitor.exchange(status("a"))).scrape


async def test_a_replica_that_does_not_answer_holds_nobody_up(clock: Clock) -> None:
    monitor = LoadMonitor()
    assert await monitor.expositions(0.01) == {}
    await monitor.exchange(status("a"))
    assert await monitor.expositions(0.01) == {}


def door(arrived: int, *, waiting: int = 0, finished: int = 0, attained: int = 0) -> DoorReport:
    count = ClassCount(ttft_ms=None, tpot_ms=50, arrived=arrived, waiting=waiting, finished=finished, attained=attained)
    return DoorReport(door="d", classes={"a": count})


async def test_a_door_gets_every_replicas_figures_with_their_age(clock: Clock) -> None:
    monitor = LoadMonitor()
    await monitor.exchange(status("a", batch=3))
    clock.now_s += 0.5
    (found,) = (await monitor.door(door(0))).replicas
    assert (found.replica, found.batch, found.seats, found.age_s) == ("a", 3, 8, 0.5)
    await monitor.leave("a")
    assert (await monitor.door(door(0))).replicas == ()


async def test_more_replicas_are_wanted_for_those_who_wait_and_fewer_after_a_quiet_spell(clock: Clock) -> None:
    monitor = LoadMonitor()
    scaling = {"max_replicas": 4, "target_load": 1.0, "down_load": 1.0, "down_after_s": 10}
    await monitor.reconfigure({"start_s": 0.1, "scaling": scaling})
    assert (await monitor.exchange(status("a"))).desired_replicas == 1
    await monitor.door(door(0, waiting=20))
    assert (await monitor.exchange(status("a", batch=8))).desired_replicas == 4  # 28 and what scatters, on 8 seats each
    await monitor.door(door(0))
    wanted = []
    for _ in range(45):
        clock.now_s += 1
        wanted.append((await monitor.exchange(status("a"))).desired_replicas)
    assert [n for n, before in zip(wanted, [0, *wanted], strict=False) if n != before] == [4, 3, 2, 1]


async def test_slo_status_shows_attainment_and_the_outlook_carries_it(clock: Clock) -> None:
    monitor = LoadMonitor()
    for i in range(1, 5):
        await monitor.door(door(10 * i, finished=10 * i, attained=9 * i))
        clock.now_s += 0.25
    shown = (await monitor.slo()).classes["a"]
    assert shown.attainment == pytest.approx(0.9)
    assert (shown.arrived, shown.finished) == (40, 40)
    assert (await monitor.exchange(status("a"))).outlook.attainment == {"a": pytest.approx(0.9)}
    assert 'adaspec_slo_attainment{slo_class="a"} 0.9' in await monitor.exposition()


async def test_what_nothing_finished_of_lately_has_no_attainment(clock: Clock) -> None:
    """An alert on it would never end."""
    monitor = LoadMonitor()
    for i in range(2):
        await monitor.door(door(10 * i, finished=10 * i, attained=2 * i))
        clock.now_s += 0.25
    assert 'adaspec_slo_attainment{slo_class="a"} 0.2' in await monitor.exposition()
    clock.now_s += 3600
    assert "adaspec_slo_attainment{" not in await monitor.exposition()


@pytest.mark.parametrize("first", ["a report", "a scrape", "a look", "one that has heard nothing"])
async def test_a_monitor_that_starts_anew_takes_no_replica_away(clock: Clock, first: str) -> None:
    """Whatever comes first: its first report is from one replica of four."""
    monitor = LoadMonitor()
    await monitor.reconfigure({"start_s": 60, "scaling": {"max_replicas": 8, "down_after_s": 60}})
    if first == "a scrape":
        await monitor.exposition()
    elif first == "a look":
        await monitor.slo()
    elif first == "one that has heard nothing":
        await monitor.exchange(status("a"))
    wanted = []
    for _ in range(4):
        for name in "abcd":
            wanted.append((await monitor.exchange(status(name, batch=5, desired_replicas=4))).desired_replicas)
            clock.now_s += 0.06
    assert set(wanted) == {4}


SLOW_START = {"start_s": 60, "scaling": {"max_replicas": 8, "target_load": 0.75, "down_after_s": 60}}


async def wanted_under(clock: Clock, rps: Sequence[float], stay_s: float) -> list[int]:
    """Replicas wanted, second by second, by one replica of 32 seats under Poisson arrivals of `rps` in each second."""
    monitor, rng = LoadMonitor(), np.random.default_rng(0)
    await monitor.reconfigure(SLOW_START)
    ends: list[float] = []
    arrived = finished = 0
    wanted = []
    for rate in rps:
        for _ in range(4):
            clock.now_s += 0.25
            new = int(rng.poisson(rate / 4))
            arrived += new
            ends += (clock.now_s + rng.exponential(stay_s, new)).tolist()
            finished += sum(end <= clock.now_s for end in ends)
            ends = [end for end in ends if end > clock.now_s]
            await monitor.door(door(arrived, finished=finished, attained=finished))
            known = {"residence_s": stay_s if finished else 0.0, "seats": 32}
            wanted.append((await monitor.exchange(status("a", batch=len(ends), **known))).desired_replicas)
    return wanted[::4]


@pytest.mark.parametrize(("rps", "stay_s"), [(0.1, 10), (0.5, 5), (1, 5)])
async def test_a_few_requests_on_many_seats_want_no_second_replica(clock: Clock, rps: float, stay_s: float) -> None:
    """A replica takes a minute to start: one arrival more in a quarter of a second is no trend of a minute."""
    assert set(await wanted_under(clock, [rps] * 600, stay_s)) == {1}


async def test_one_request_on_a_fresh_service_wants_no_second_replica(clock: Clock) -> None:
    """How long it stays is not known before anything has finished."""
    assert set(await wanted_under(clock, [0] * 60 + [4] + [0] * 30, 1e6)) == {1}


async def test_a_step_in_the_load_is_followed_within_seconds(clock: Clock) -> None:
    wanted = await wanted_under(clock, [1] * 120 + [8] * 300, 10)
    assert max(wanted[:120]) == 1
    assert wanted[130] >= 4  # 80 requests at three quarters of 32 seats
    assert max(wanted) <= 6
