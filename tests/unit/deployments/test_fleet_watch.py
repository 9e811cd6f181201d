import asyncio
from typing import Any

import pytest

from deployments.admission import Asked, Door
from deployments.door_metrics import DoorMetrics
from deployments.errors import ApiError
from deployments.fleet_watch import FleetWatch
from deployments.live import Live
from deployments.seat import Seat
from deployments.settings import IngressConfig
from deployments.slo_status import DoorAnswer, DoorReport
from tests.unit.deployments.test_admission import figures

CONFIG = {"classes": [{"name": "default", "tpot_ms": 40}], "exchange_every_s": 0.05}


class Monitor:
    """The way to a monitor that answers with one replica, or is away."""

    def __init__(self) -> None:
        self.reports: list[DoorReport] = []
        self.away = self.hangs = False
        self.heard = asyncio.Event()

    async def at_the_door(self, report: DoorReport, _: IngressConfig) -> DoorAnswer:
        self.reports.append(report)
        self.heard.set()
        if self.hangs:
            await self._says_it_failed_when_cancelled()
        if self.away:
            raise ApiError(503, "away")
        return DoorAnswer(replicas=(figures("a"),))

    async def _says_it_failed_when_cancelled(self) -> None:
        """As a Serve handle may, whose call is cancelled along with who waits for it."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ApiError(503, "cancelled") from None


@pytest.fixture
def monitor() -> Monitor:
    return Monitor()


@pytest.fixture
def parts(monitor: Monitor) -> tuple[FleetWatch, Door]:
    live, metrics = Live(IngressConfig.model_validate(CONFIG)), DoorMetrics()
    door = Door(live, metrics)
    way: Any = monitor
    return FleetWatch(live, door, metrics, way), door


def asked(door: Door) -> Asked:
    return Asked(door._live.now.classes[0], "p", tokens=7, seats=1)


async def test_whoever_comes_first_waits_for_figures_and_is_counted(
    parts: tuple[FleetWatch, Door], monitor: Monitor
) -> None:
    watch, door = parts
    await asyncio.gather(watch.started(), watch.started())
    assert len(monitor.reports) == 1
    seat = Seat(door, asked(door), await door.enter(asked(door)))
    monitor.heard.clear()
    await monitor.heard.wait()
    count = monitor.reports[-1].classes["default"]
    assert (count.arrived, count.admitted, count.running, count.prompt_tokens) == (1, 1, 1, 7)
    assert count.tpot_ms == 40
    seat.leave()
    seat.leave()
    assert door.running("default") == 0


async def test_a_monitor_that_is_away_is_asked_again_and_not_missed(
    parts: tuple[FleetWatch, Door], monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    watch, door = parts
    brief = {"routing": {"stale_after_s": 0.01}}  # a monitor that said nobody is there would be believed in no time
    door._live.now = IngressConfig.model_validate(CONFIG | {"door": brief})
    await watch.started()
    monitor.away = True
    for _ in range(3):
        monitor.heard.clear()
        await monitor.heard.wait()
    assert (await door.enter(asked(door))).replica == "a"
    assert len([r for r in caplog.records if "monitor unreachable" in r.message]) == 1
    monitor.away = False
    monitor.heard.clear()
    await monitor.heard.wait()
    await watch.started()


async def test_cancelled_amid_an_exchange_it_ends(parts: tuple[FleetWatch, Door], monitor: Monitor) -> None:
    watch, _ = parts
    await watch.started()
    monitor.hangs = True
    monitor.heard.clear()
    await monitor.heard.wait()
    assert watch._task is not None
    watch._task.cancel()
    monitor.hangs = False  # else a loop that went on would not end with the test either
    done, _ = await asyncio.wait([watch._task], timeout=5)
    assert done
