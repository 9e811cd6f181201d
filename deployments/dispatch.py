"""The ingress's way to the replicas: bounded retries while nothing was sent, one error event after that."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from typing import Any

from grpc import RpcError
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle

from deployments.backend import EngineFailed
from deployments.calls import Call, Head
from deployments.errors import ApiError, NoReplicaError
from deployments.expositions import join
from deployments.ingress_metrics import IngressMetrics
from deployments.seat import Seat
from deployments.settings import IngressConfig
from deployments.slo_status import DoorAnswer, DoorReport, SloStatus
from deployments.status import FleetStatus

logger = logging.getLogger(__name__)

GONE = (ActorDiedError, ActorUnavailableError, ReplicaUnavailableError, EngineFailed)
"""This replica is lost; another may answer."""
FAILED = (RayError, RayServeException, NoReplicaError, RpcError, EngineFailed)
"""Everything Ray, Serve, gRPC beneath it and our router raise for a call."""


class Dispatch:
    """Calls replicas and the load monitor for the ingress."""

    def __init__(self, replicas: DeploymentHandle, monitor: DeploymentHandle, metrics: IngressMetrics) -> None:
        self._serve = replicas.options(method_name="serve", stream=True)
        self._fleet = monitor.options(method_name="fleet")
        self._scrape = monitor.options(method_name="expositions")
        self._monitor = monitor.options(method_name="exposition")
        self._door = monitor.options(method_name="door")
        self._slo = monitor.options(method_name="slo")
        self._metrics = metrics
        self._was_ready = False

    async def open(
        self, call: Call, config: IngressConfig, seat: Seat | None = None, *, whole: bool = False
    ) -> tuple[Head, AsyncIterator[bytes]]:
        """The head, once its first part is there, and the rest of the body. `seat`: where the door wants it.

        `whole`: no stream, so the first part is the last: it takes as long as all of the text.

        Raises:
            ApiError: 429 or 503 where nothing can serve now, 500 where the replica failed.
        """
        limit_s = config.answer_timeout_s if whole else config.first_token_timeout_s
        for _ in range(config.attempts):
            parts = self._serve.remote(call if seat is None else replace(call, replica=seat.replica))
            try:
                head = await asyncio.wait_for(anext(parts), limit_s)
            except GONE as error:
                self._metrics.retried()
                logger.warning("%s: replica lost before the first token: %r", call.path, error)
                if seat is not None:
                    seat.lost()
            except FAILED as error:
                raise as_api_error(error, config) from error
            except (TimeoutError, asyncio.CancelledError) as error:
                parts.cancel()
                if isinstance(error, asyncio.CancelledError):
                    raise
                raise as_api_error(error, config) from error
            else:
                if seat is not None:
                    seat.answered(head.replica)
                return head, self._rest(parts)
        raise ApiError(503, "the replicas serving this request were lost", retry_after_s=config.retry_after_s)

    async def ready(self, config: IngressConfig) -> bool:
        """Whether any replica reports; the last answer while the load monitor itself is away."""
        try:
            view = await self.fleet(config)
        except ApiError:
            return self._was_ready
        self._was_ready = any(not seen.stale for seen in view.replicas)
        return self._was_ready

    async def exposition(self, config: IngressConfig) -> str:
        """The monitor's metrics, and the replicas' joined with their names. Raises ApiError without a monitor."""
        texts: dict[str, str] = await self._ask(self._scrape.remote(config.probe_timeout_s), config)
        monitor: str = await self._ask(self._monitor.remote(), config)
        return monitor + join(texts)

    async def fleet(self, config: IngressConfig) -> FleetStatus:
        """The load monitor's view. Raises ApiError without a monitor."""
        view: FleetStatus = await self._ask(self._fleet.remote(), config)
        return view

    async def at_the_door(self, report: DoorReport, config: IngressConfig) -> DoorAnswer:
        """The door's counts for the replicas' figures. Raises ApiError without a monitor."""
        answer: DoorAnswer = await self._ask(self._door.remote(report), config)
        return answer

    async def slo(self, config: IngressConfig) -> SloStatus:
        """Classes, forecast and admission as the monitor has them. Raises ApiError without a monitor."""
        status: SloStatus = await self._ask(self._slo.remote(), config)
        return status

    async def _ask(self, answer: Awaitable[Any], config: IngressConfig) -> Any:
        try:
            return await asyncio.wait_for(answer, config.probe_timeout_s + 1)
        except (*FAILED, TimeoutError) as error:
            raise ApiError(503, "the load monitor is restarting", retry_after_s=config.retry_after_s) from error

    async def _rest(self, parts: Any) -> AsyncIterator[bytes]:
        try:
            async for part in parts:
                yield part
        except FAILED as error:
            self._metrics.broke()
            logger.warning("stream broken: %r", error)
            yield ApiError(500, "the replica was lost while it was answering; the text so far is incomplete").event()
        finally:
            parts.cancel()


def as_api_error(error: Exception, config: IngressConfig) -> ApiError:
    """What a client is told about `error`."""
    if isinstance(error, BackPressureError):
        wait_s = math.ceil(error.retry_after_s or config.retry_after_s)
        return ApiError(error.status_code, "too many requests are waiting; try again later", retry_after_s=wait_s)
    if isinstance(error, NoReplicaError | DeploymentUnavailableError):
        return ApiError(503, "no replica is ready to serve", retry_after_s=config.retry_after_s)
    if isinstance(error, TimeoutError):
        return ApiError(503, "no replica answered in time", retry_after_s=config.retry_after_s)
    logger.error("the replica failed", exc_info=error)
    return ApiError(500, "the replica failed while it was answering")
