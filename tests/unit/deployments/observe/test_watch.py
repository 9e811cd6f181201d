"""Looking costs something only while somebody watches, and a slow reader costs the others nothing."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest

from deployments.errors import ApiError
from deployments.observe import watch as module
from deployments.observe.watch import BEHIND, Watch
from deployments.status import FleetStatus
from policies.exchange import LoadOutlook


class Fleet:
    def __init__(self) -> None:
        self.looks, self.away, self.hangs = 0, False, False
        self.looked = asyncio.Event()

    async def __call__(self) -> FleetStatus:
        self.looks += 1
        self.looked.set()
        if self.hangs:
            await self._says_it_is_away_when_cancelled()
        if self.away:
            raise ApiError(503, "the load monitor is restarting")
        return FleetStatus(at_s=float(self.looks), replicas=(), outlook=LoadOutlook(at_s=0.0))

    async def _says_it_is_away_when_cancelled(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ApiError(503, "cancelled") from None

    async def looks_again(self) -> None:
        self.looked.clear()
        await asyncio.wait_for(self.looked.wait(), 10)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setattr(module, "EVERY_S", 0.002)
    return Fleet()


def watching(fleet: Fleet) -> Watch:
    return Watch(fleet, lambda: {"classes": (), "counts": {}, "recent": {}, "waiting": {}})


async def until(events: Any, name: str) -> Any:
    """The data of the next event of that name."""
    async for event in events:
        *_, head, data = event.decode().strip().split("\n")
        if head == f"event: {name}":
            return json.loads(data.removeprefix("data: "))
    return None


async def test_nobody_watches_nobody_looks(fleet: Fleet) -> None:
    watch = watching(fleet)
    async with aclosing(watch.events()) as events:
        assert (await until(events, "frame"))["t"] >= 1
    assert watch.readers == 0
    for _ in range(3):  # the look under way ends by itself
        await asyncio.sleep(0.002)
    looks = fleet.looks
    await asyncio.sleep(0.02)
    assert fleet.looks == looks


async def test_two_readers_share_one_look_and_the_second_sees_the_past(fleet: Fleet) -> None:
    watch = watching(fleet)
    async with aclosing(watch.events()) as first, aclosing(watch.events()) as second:
        a = await until(first, "frame")
        past = await until(second, "past")
        assert a in past
        b = await until(second, "frame")
        assert await until(first, "frame") == b or b["t"] > a["t"]


async def test_a_reader_that_does_not_read_is_dropped_from_not_waited_for(fleet: Fleet) -> None:
    watch = watching(fleet)
    async with aclosing(watch.events()) as slow:
        await until(slow, "past")
        for _ in range(3 * BEHIND):
            await fleet.looks_again()
        await until(slow, "reloads")
        assert (await until(slow, "frame"))["t"] > BEHIND


async def test_a_monitor_that_restarts_is_said_and_waited_for(fleet: Fleet) -> None:
    watch = watching(fleet)
    fleet.away = True
    async with aclosing(watch.events()) as events:
        assert await until(events, "away") == "the load monitor is restarting"
        fleet.away = False
        assert await until(events, "frame")


async def test_cancelled_amid_a_look_it_ends_though_somebody_watches(fleet: Fleet) -> None:
    watch = watching(fleet)
    async with aclosing(watch.events()) as events:
        await until(events, "frame")
        fleet.hangs = True
        await fleet.looks_again()
        assert watch._looking is not None
        watch._looking.cancel()
        fleet.hangs = False  # else a loop that went on would not end with the test either
        done, _ = await asyncio.wait([watch._looking], timeout=5)
        assert done
