import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import RpcError
from ray.exceptions import RayActorError
from ray.serve.exceptions import RequestCancelledError

from deployments.backend import EngineFailed, PolicyRefused
from deployments.calls import Call, Head
from deployments.progress import Progress
from deployments.replica import Replica
from deployments.settings import AppArgs
from deployments.status import Exchanged
from policies.exchange import LoadOutlook

FIXED = {"policy": {"name": "fixed", "params": {"k": 1}}}


class Method:
    """A method of a deployment handle."""

    def __init__(self, does: Callable[..., Awaitable[Any]]) -> None:
        self.remote = does


class Monitor:
    """A handle of a load monitor that wants every replica's metrics."""

    def __init__(self) -> None:
        self.exposed = asyncio.Event()
        self.heard = asyncio.Event()
        self.lost = self.hangs = False
        self.asked: asyncio.Task[Any] | None = None
        self.exchange = Method(self._exchange)
        self.expose = Method(self._expose)
        self.leave = Method(self._leave)
        self.hung = Method(self._hung)
        self.left: list[str] = []
        self.hung_of: list[str] = []

    async def _exchange(self, status: Any) -> Exchanged:
        self.heard.set()
        self.asked = asyncio.current_task()
        if self.hangs:
            await self._says_it_failed_when_cancelled()
        if self.lost:
            raise TimeoutError
        return Exchanged(outlook=LoadOutlook(at_s=1), scrape=True)

    async def _says_it_failed_when_cancelled(self) -> None:
        """As a Serve handle may."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RequestCancelledError from None

    async def _expose(self, replica: str, text: str) -> None:
        assert "adaspec_reloads_total" in text
        self.exposed.set()

    async def _hung(self, replica: str) -> None:
        self.hung_of.append(replica)

    async def _leave(self, replica: str) -> None:
        self.left.append(replica)
        if self.lost:
            raise TimeoutError


@pytest.fixture
def monitor() -> Monitor:
    return Monitor()


@pytest.fixture
async def replica(monitor: Monitor) -> Any:
    made = Replica.__new__(Replica)
    await made.__init__(AppArgs.model_validate({"engine": {"kind": "fake"}}), monitor, "r")  # type: ignore[misc]
    yield made
    await made.__del__()


async def test_whatever_the_engine_raises_a_reload_only_records_it(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(replica.backend, "set_policy", broken)
    await replica.reconfigure(FIXED)
    status = await replica.status()
    assert status.last_rejection is not None
    assert status.last_rejection.problems[0].fix == "no room"
    assert status.policy.name == "off"


async def test_an_engine_that_never_answers_a_reload_does_not_hold_it_for_ever(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Serve asks for no health before a reload is over, and nobody would find out."""

    async def hang(_: object) -> None:
        await asyncio.Event().wait()

    await replica.reconfigure({"stalled_after_s": 1})
    monkeypatch.setattr(replica.backend, "set_policy", hang)
    await replica.reconfigure(FIXED)
    rejection = (await replica.status()).last_rejection
    assert rejection is not None
    assert "no answer for 1 s" in rejection.problems[0].fix


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_users_module_is_imported_by_the_engine_alone(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrapped: bool
) -> None:
    """In the replica's own process nothing could end a loop, and every stream of the replica would stand still."""

    async def refuse(_: object) -> None:
        raise PolicyRefused("policy.name: cannot import: not done within adaspec.build_limit_ms = 5000")

    monkeypatch.setattr(replica.backend, "set_policy", refuse)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "imported_here.py").write_text("raise KeyboardInterrupt('imported in the replica')")
    spec: dict[str, Any] = {"name": "imported_here:policy"}
    if wrapped:
        spec = {"name": "steady", "params": {"policy": {"name": "probed", "params": {"policy": spec}}}}
    await replica.reconfigure({"policy": spec})
    rejection = (await replica.status()).last_rejection
    assert rejection is not None
    (problem,) = rejection.problems
    assert (problem.field, problem.value) == ("policy.name", spec["name"])
    assert problem.fix.startswith("cannot import")


async def test_the_outlook_arrives_in_the_engine_and_metrics_are_sent_when_wanted(
    replica: Replica, monitor: Monitor
) -> None:
    await monitor.exposed.wait()
    await replica.status()
    assert replica.backend.outlook.at_s == 1  # type: ignore[attr-defined]  # the fake keeps it


async def test_without_the_monitor_the_replica_goes_on_and_counts(replica: Replica, monitor: Monitor) -> None:
    await monitor.exposed.wait()
    monitor.lost = True
    for _ in range(2):  # the second report comes when the first has been given up
        monitor.heard.clear()
        await replica.reconfigure(FIXED)  # wakes the reporting
        await monitor.heard.wait()
    assert "adaspec_exchange_failures_total 0.0" not in replica.metrics.exposition()
    await replica.check_health()


async def test_cancelled_along_with_its_report_the_reporting_ends(replica: Replica, monitor: Monitor) -> None:
    """As by `asyncio.run` at its end, which cancels every task, in any order, and waits for all."""
    monitor.hangs = True
    monitor.heard.clear()
    await replica.reconfigure(FIXED)
    await monitor.heard.wait()
    assert monitor.asked is not None
    assert replica._reporting is not None
    monitor.asked.cancel()
    replica._reporting.cancel()
    monitor.hangs = False  # else a loop that went on would not end with the test either
    done, _ = await asyncio.wait([replica._reporting], timeout=5)
    assert done


async def test_an_engine_that_answers_nothing_makes_the_replica_unhealthy(replica: Replica, monitor: Monitor) -> None:
    await replica.reconfigure(FIXED | {"stalled_after_s": 1})
    replica._progress.moved_s -= 2
    for _ in range(2):
        with pytest.raises(EngineFailed, match="no step and given no answer for 2 s"):
            await replica.check_health()
    assert monitor.hung_of == ["r"]  # once
    with pytest.raises(EngineFailed):  # the engine was ended: who waits for it is told
        await replica.backend.check_health()


async def test_an_engine_that_holds_requests_and_makes_no_step_has_not_moved() -> None:
    progress = Progress()
    moved = []
    for steps, held in [(7, 1), (8, 1), (8, 1), (8, 0), (9, 2), (0, 1), (0, 1)]:
        progress.moved_s = -1.0
        progress.answered(steps, held)
        moved.append(progress.moved_s > 0)
    assert moved == [True, True, False, True, True, True, True]


@pytest.mark.parametrize("said", [b'data: {"error": {"code": 500}}\n\n', Head(500, (), b"{}", last=True), ValueError()])
async def test_an_answer_of_a_dead_engine_is_its_failure(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, said: bytes | Head | Exception
) -> None:
    async def answer(*_: object) -> AsyncGenerator[Head | bytes, None]:
        if isinstance(said, Exception):
            raise said
        yield said
        yield b"data: [DONE]\n\n"

    monkeypatch.setattr("deployments.replica.answer", answer)
    call = Call("POST", "/v1/completions")
    if not isinstance(said, Exception):
        assert len([part async for part in replica.serve(call)]) == 2  # an engine that lives has its own say
    replica.backend.kill()
    with pytest.raises(EngineFailed):
        _ = [part async for part in replica.serve(call)]


async def test_an_engine_that_fails_while_reporting_makes_the_replica_unhealthy(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dead(_: object) -> None:
        raise EngineFailed("dead")

    monkeypatch.setattr(replica.backend, "exchange", dead)
    await replica.reconfigure(FIXED)
    assert replica._reporting is not None
    await asyncio.wait([replica._reporting])
    with pytest.raises(EngineFailed, match="reporting ended"):
        await replica.check_health()


@pytest.mark.parametrize("lost", [False, True])
async def test_a_replica_that_ends_tells_the_monitor_and_stops_its_engine(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    made, stopped = Replica.__new__(Replica), asyncio.Event()
    await made.__init__(AppArgs.model_validate({"engine": {"kind": "fake"}}), monitor, "r")  # type: ignore[misc]

    async def stop() -> None:
        stopped.set()

    monkeypatch.setattr(made.backend, "stop", stop)
    monitor.lost = lost
    await made.__del__()
    assert monitor.left == ["r"]
    assert stopped.is_set()


async def test_the_time_of_a_swap_is_told_and_a_refused_one_does_not_move_it(replica: Replica) -> None:
    before = (await replica.status()).policy_at_s
    await replica.reconfigure(FIXED)
    swapped = (await replica.status()).policy_at_s
    await replica.reconfigure({"policy": {"name": "nosuch"}})
    assert before < swapped == (await replica.status()).policy_at_s


async def test_how_many_came_and_how_long_they_stayed_is_reported(replica: Replica) -> None:
    body = b'{"prompt": "p", "max_tokens": 2}'
    async for _ in replica.serve(Call("POST", "/v1/completions", (), body)):
        pass
    status = await replica.status()
    assert status.received == 1
    assert status.residence_s > 0


async def test_a_replica_whose_engine_never_started_can_be_deleted(monitor: Monitor) -> None:
    made = Replica.__new__(Replica)
    args = AppArgs.model_validate({"engine": {"kind": "fake", "safe_policy": {"name": "nosuch"}}})
    with pytest.raises(ValueError, match="unknown policy"):
        await made.__init__(args, monitor, "r")  # type: ignore[misc]
    await made.__del__()


async def test_only_what_was_generated_says_how_long_a_request_stays(replica: Replica) -> None:
    """A client that lists the models every second is no load."""
    for call in (Call("GET", "/v1/models"), Call("POST", "/v1/completions", (), b"{}")):
        assert [part async for part in replica.serve(call)]
    status = await replica.status()
    assert (status.received, status.residence_s) == (1, 0.0)
    body = b'{"model": "fake", "prompt": "a", "max_tokens": 2}'
    headers = ((b"content-type", b"application/json"),)
    (head, *_) = [part async for part in replica.serve(Call("POST", "/v1/completions", headers, body))]
    assert isinstance(head, Head)
    assert head.status == 200
    status = await replica.status()
    assert status.received == 2
    assert status.residence_s > 0


@pytest.mark.parametrize("error", [RpcError(), RayActorError(), TimeoutError()])
async def test_whatever_the_monitor_is_lost_with_reporting_goes_on(
    replica: Replica, monitor: Monitor, error: Exception
) -> None:
    async def lost(_: object) -> None:
        raise error

    monitor.exchange.remote = lost
    await replica._report(await replica.status())
    await replica._tell(lost(None))
    assert re.search(r"^adaspec_exchange_failures_total [1-9]", await replica.exposition(), re.MULTILINE)
    await replica.check_health()  # raises once reporting has ended
