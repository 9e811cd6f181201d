import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from deployments.admission import DOUBT_S, Asked, Door
from deployments.door_metrics import DoorMetrics
from deployments.errors import ApiError
from deployments.live import Live
from deployments.settings import IngressConfig
from policies.fleet.ledger import Sent
from policies.fleet.track import ReplicaFigures

CLASSES: list[dict[str, Any]] = [
    {"name": "tight", "ttft_ms": 500, "priority": 5, "reserved_slots": 1, "overload": "shed"},
    {"name": "default"},
]


def figures(name: str, **given: Any) -> ReplicaFigures:
    base = {
        "replica": name,
        "age_s": 0.0,
        "batch": 0,
        "waiting": 0,
        "backlog_tokens": 0,
        "seats": 2,
        "step_s": 0.01,
        "step_per_request_s": 0.0,
        "tokens_per_step": 1.0,
        "prefill_tokens_per_s": 1e9,
        "residence_s": 10.0,
    }
    return ReplicaFigures.model_validate(base | given)


class Fixture:
    """A door, and its config as an operator may change it."""

    def __init__(self, replicas: Sequence[ReplicaFigures], **config: Any) -> None:
        self.live = Live(IngressConfig.model_validate({"classes": CLASSES, "first_token_timeout_s": 2} | config))
        self.metrics = DoorMetrics()
        self.door = Door(self.live, self.metrics)
        self.door.told(replicas)

    def asked(self, of: str = "default", prompt: str = "p") -> Asked:
        slo = next(c for c in self.live.now.classes if c.name == of)
        return Asked(slo, prompt, tokens=10, seats=1)

    async def enter(self, of: str = "default", prompt: str = "p") -> Sent:
        return await self.door.enter(self.asked(of, prompt))

    async def waiting(self, of: str) -> "asyncio.Task[Sent]":
        task = asyncio.create_task(self.enter(of))
        await asyncio.sleep(0)
        assert not task.done()
        return task


async def test_a_full_fleet_holds_a_patient_request_until_a_seat_is_free() -> None:
    f = Fixture([figures("a")], classes=[{"name": "default"}])
    first = [await f.enter(), await f.enter()]
    task = await f.waiting("default")
    assert f.door.waiting() == {"default": 1}
    f.door.leave(first[0])
    assert (await task).replica == "a"
    assert f.metrics.counts["default"] == {"arrived": 3, "admitted": 3}


async def test_a_class_that_sheds_is_refused_at_once_with_a_time_to_come_back() -> None:
    f = Fixture([figures("a", residence_s=60.0)])
    await f.enter()
    await f.enter("tight")
    with pytest.raises(ApiError) as caught:
        await f.enter("tight")
    assert (caught.value.status, caught.value.retry_after_s) == (429, 30)  # one of two, that stay 60 s
    assert "'tight'" in caught.value.message
    assert f.metrics.counts["tight"]["shed"] == 1


async def test_a_reserved_seat_is_kept_and_priority_goes_first() -> None:
    f = Fixture([figures("a", residence_s=0.2)])
    held = await f.enter()
    patient = await f.waiting("default")  # the second seat is the tight class's
    tight = await f.enter("tight")
    next_tight = await f.waiting("tight")  # a seat is free soon enough
    f.door.leave(held)
    assert (await next_tight).replica == "a"
    assert not patient.done()
    f.door.leave(tight)
    f.door.leave(next_tight.result())
    assert (await patient).replica == "a"


async def test_who_waited_past_its_ttft_is_refused() -> None:
    f = Fixture([figures("a", residence_s=0.02)], classes=[CLASSES[0] | {"ttft_ms": 30}, CLASSES[1]])
    await f.enter("tight")
    await f.enter("tight")
    late = await f.waiting("tight")
    await asyncio.sleep(0.04)
    f.door.told([figures("a", batch=2)])
    with pytest.raises(ApiError, match="late"):
        await late


async def test_who_leaves_the_line_takes_no_seat() -> None:
    f = Fixture([figures("a", seats=1)], classes=[{"name": "default"}])
    held = await f.enter()
    left, stayed = await f.waiting("default"), await f.waiting("default")
    left.cancel()
    f.door.leave(held)
    assert (await stayed).replica == "a"
    with pytest.raises(asyncio.CancelledError):
        await left
    assert f.door.running("default") == 1


async def test_who_leaves_in_the_moment_it_is_admitted_gives_its_seat_back() -> None:
    f = Fixture([figures("a", seats=1)], classes=[{"name": "default"}])
    held = await f.enter()
    task = await f.waiting("default")
    f.door.leave(held)  # admitted, but it has not run yet
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert f.door.running("default") == 0


async def test_without_a_replica_everybody_gets_503_at_once() -> None:
    f = Fixture([])
    with pytest.raises(ApiError) as caught:
        await f.enter()
    assert (caught.value.status, caught.value.retry_after_s) == (503, 1)


async def test_a_lost_replica_is_left_out_for_a_while() -> None:
    both = [figures("a", seats=8), figures("b", seats=8, batch=1)]
    f = Fixture(both)
    sent = await f.enter()
    assert sent.replica == "a"
    assert f.door.again(f.asked(), sent).replica == "b"
    f.door.told(both)  # the monitor has not noticed yet
    assert (await f.enter()).replica == "b"
    f.door._doubted["a"] -= DOUBT_S
    f.door.told(both)
    assert (await f.enter()).replica == "a"
    alone = Fixture([figures("a")])
    with pytest.raises(ApiError, match="no replica"):
        alone.door.again(alone.asked(), await alone.enter())


async def test_a_request_that_landed_elsewhere_counts_there() -> None:
    f = Fixture([figures("a", seats=8), figures("b", seats=8, batch=1)], classes=[{"name": "default"}])
    sent = f.door.arrived(await f.enter(), "b", streamed=True)
    assert sent.replica == "b"
    assert (await f.enter("default")).replica == "b"  # Serve does not route to a any more
    f.door.leave(sent)


async def test_replicas_that_reload_one_after_the_other_leave_nobody_without_one() -> None:
    fleet = [figures("a", seats=8), figures("b", seats=8, batch=1)]
    f = Fixture(fleet, classes=[{"name": "default"}])
    first = await f.enter()
    assert (first.replica, f.door.arrived(first, "b", streamed=True).replica) == ("a", "b")  # a takes a new config
    second = await f.enter()
    assert (second.replica, f.door.arrived(second, "a", streamed=True).replica) == ("b", "a")  # now b does
    assert (await f.enter()).replica == "b"
    f.door.told(fleet)
    assert sorted(f.door._replicas) == ["a", "b"]  # a has answered: no doubt about it


async def test_the_only_known_replica_that_another_answered_for_keeps_no_seat_of_it() -> None:
    f = Fixture([figures("a")])
    f.door.leave(f.door.arrived(await f.enter(), "b", streamed=True))
    assert f.door.running("default") == 0


async def test_first_tokens_that_come_late_leave_less_time_to_wait() -> None:
    f = Fixture([figures("a", seats=8, residence_s=1.0)])
    for _ in range(80):
        sent = await f.enter("tight")
        f.door.arrived(replace(sent, at_s=sent.at_s - 0.2), "a", streamed=True)  # 200 ms, where 10 were predicted
        f.door.leave(sent)
    assert f.door._request(f.asked("tight")).ttft_slo_s == pytest.approx(0.5 - 0.19, abs=0.02)


async def test_a_silent_monitor_changes_nothing_and_a_silent_replica_goes() -> None:
    f = Fixture([figures("a", age_s=9.9), figures("b", age_s=10.1)])  # ten times stale_after_s, 1 s
    f.door.told([])
    assert list(f.door._replicas) == ["a"]  # a starved machine's replica reports late, and serves


async def test_a_monitor_that_comes_back_knowing_nobody_has_lost_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    f = Fixture([figures("a")])
    now_s = asyncio.get_running_loop().time()
    kept = []
    for later_s in (60.0, 61.9, 62.1):  # patience: twice stale_after_s, 1 s
        monkeypatch.setattr("deployments.admission._now_s", lambda at_s=now_s + later_s: at_s)
        f.door.told([])
        kept.append(list(f.door._replicas))
    assert kept == [["a"], ["a"], []]


async def test_a_seen_prefix_goes_where_it_was_seen() -> None:
    f = Fixture([figures("a"), figures("b")], classes=[{"name": "default"}])
    system = "s" * 600
    sent = await f.enter(prompt="x")
    other = await f.enter(prompt=system)
    f.door.leave(sent)
    f.door.leave(other)
    assert {sent.replica, other.replica} == {"a", "b"}
    assert (await f.enter(prompt=system + "?")).replica == other.replica


async def test_nobody_waits_longer_than_the_first_token_may() -> None:
    f = Fixture([figures("a", seats=1)], classes=[{"name": "default"}], first_token_timeout_s=0.02)
    await f.enter()
    with pytest.raises(ApiError) as caught:
        await f.enter()
    assert caught.value.status == 429
    assert f.door.waiting() == {"default": 0}
