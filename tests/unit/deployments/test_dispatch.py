import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import RpcError
from ray.exceptions import ActorDiedError, ActorUnavailableError

from deployments.backend import EngineFailed
from deployments.calls import Call, Head
from deployments.dispatch import Dispatch
from deployments.errors import ApiError, NoReplicaError
from deployments.ingress_metrics import IngressMetrics
from deployments.settings import IngressConfig

CALL = Call("POST", "/v1/completions")
NEVER, SLOW = object(), object()
HEAD = Head(200, (), b"first", last=False)


class Parts:
    """A streamed answer: what was sent, or the error it ends with."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = iter(parts)
        self.cancelled = False

    def __aiter__(self) -> "Parts":
        return self

    async def __anext__(self) -> Any:
        part = next(self._parts, StopAsyncIteration())
        if part is NEVER:
            await asyncio.get_running_loop().create_future()
        if part is SLOW:
            await asyncio.sleep(0.05)
            part = next(self._parts)
        if isinstance(part, Exception):
            raise part
        return part

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """A deployment handle whose calls are answered from a script."""

    def __init__(self, *answers: list[Any]) -> None:
        self._answers = iter(answers)
        self.given: list[Parts] = []

    def options(self, **_: Any) -> "Handle":
        return self

    def remote(self, *_: Any) -> Parts:
        self.given.append(Parts(next(self._answers)))
        return self.given[-1]


def dispatch(handle: Any) -> tuple[Dispatch, IngressMetrics]:
    metrics = IngressMetrics()
    return Dispatch(handle, handle, metrics), metrics


async def rest(parts: AsyncIterator[bytes]) -> list[bytes]:
    return [part async for part in parts]


@pytest.mark.parametrize("error", [ActorDiedError(), EngineFailed("dead"), RpcError()])
async def test_lost_after_the_first_part_ends_in_one_error_event(error: Exception) -> None:
    handle = Handle([HEAD, b"second", error])
    service, metrics = dispatch(handle)
    head, parts = await service.open(CALL, IngressConfig())
    *sent, event = await rest(parts)
    assert (head, sent) == (HEAD, [b"second"])
    assert b'"code": 500' in event
    assert "adaspec_broken_streams_total 1.0" in metrics.exposition()
    assert handle.given[0].cancelled


async def test_lost_before_the_first_part_another_is_tried() -> None:
    away = ActorUnavailableError("away", bytes(16))
    service, metrics = dispatch(Handle([ActorDiedError()], [away], [EngineFailed("dead")], [HEAD]))
    head, _ = await service.open(CALL, IngressConfig(attempts=4))
    assert head == HEAD
    assert "adaspec_retries_total 3.0" in metrics.exposition()


@pytest.mark.parametrize(
    ("answers", "status"),
    [([[ActorDiedError()]] * 2, 503), ([[NoReplicaError("none")]], 503), ([[RpcError()]], 500)],
)
async def test_what_cannot_be_served_is_an_api_error(answers: list[list[Any]], status: int) -> None:
    service, _ = dispatch(Handle(*answers))
    with pytest.raises(ApiError) as caught:
        await service.open(CALL, IngressConfig(attempts=2))
    assert caught.value.status == status
    assert (caught.value.retry_after_s is not None) == (status == 503)


async def test_a_first_token_that_does_not_come_is_given_up_and_its_request_freed() -> None:
    handle = Handle([NEVER])
    service, _ = dispatch(handle)
    with pytest.raises(ApiError) as caught:
        await service.open(CALL, IngressConfig(first_token_timeout_s=0.01))
    assert (caught.value.status, caught.value.retry_after_s) == (503, 1)
    assert handle.given[0].cancelled


async def test_an_answer_that_comes_whole_has_all_the_time_it_needs() -> None:
    """Its first part is its last: the time to a first token says nothing of it."""
    limits = IngressConfig(first_token_timeout_s=1e-3, answer_timeout_s=60)
    service, _ = dispatch(Handle([SLOW, HEAD]))
    head, _ = await service.open(CALL, limits, whole=True)
    assert head == HEAD
    service, _ = dispatch(Handle([NEVER]))
    with pytest.raises(ApiError) as caught:
        await service.open(CALL, IngressConfig(answer_timeout_s=0.01), whole=True)
    assert caught.value.status == 503


async def test_a_client_that_leaves_before_the_first_token_frees_its_request() -> None:
    handle = Handle([NEVER])
    service, _ = dispatch(handle)
    opening = asyncio.ensure_future(service.open(CALL, IngressConfig()))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert handle.given[0].cancelled
