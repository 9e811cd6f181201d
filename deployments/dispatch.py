"""The ingress's way to the replicas: bounded retries while nothing was sent, one error event after that."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from typing import Any

from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle

from deployments.calls import Call, Head
from deployments.errors import ApiError
from deployments.expositions import join
from deployments.ingress_metrics import IngressMetrics
from deployments.router import NoReplicaError
from deployments.settings import IngressConfig
from deployments.status import FleetStatus

logger = logging.getLogger(__name__)

GONE = (ActorDiedError, ActorUnavailableError, ReplicaUnavailableError)
"""This replica is lost; another may answer."""
FAILED = (RayError, RayServeException)
"""Everything Ray and Serve raise for a call."""


class Dispatch:
    """Calls replicas and the load monitor for the ingress."""

    def __init__(self, replicas: DeploymentHandle, monitor: DeploymentHandle, metrics: IngressMetrics) -> None:
        self._replicas = replicas
        self._serve = replicas.options(method_name="serve", stream=True)
        self._fleet = monitor.options(method_name="fleet")
        self._metrics = metrics

    async def open(self, call: Call, config: IngressConfig) -> tuple[Head, AsyncIterator[bytes]]:
        """The head, once its first part is there, and the rest of the body.

        Raises:
            ApiError: 429 or 503 where nothing can serve now, 500 where the replica failed.
        """
        for _ in range(config.attempts):
            parts = self._serve.remote(call)
            head = None
            try:
                head = await asyncio.wait_for(anext(parts), config.first_token_timeout_s)
            except GONE as error:
                self._metrics.retried()
                logger.warning("%s: replica lost before the first token: %r", call.path, error)
                continue
            except (*FAILED, TimeoutError) as error:
                raise as_api_error(error, config) from error
            finally:
                if head is None or head.last:
                    parts.cancel()
            return head, self._rest(parts)
        raise ApiError(503, "the replicas serving this request were lost", retry_after_s=config.retry_after_s)

    async def alive(self, config: IngressConfig) -> bool:
        """Whether any replica answers."""
        try:
            return any(await self._ask_all("alive", config))
        except ApiError:
            return False

    async def exposition(self, config: IngressConfig) -> str:
        """The replicas' metrics joined, each sample with its replica's name."""
        return join(dict(await self._ask_all("exposition", config)))

    async def fleet(self, config: IngressConfig) -> FleetStatus:
        try:
            view: FleetStatus = await asyncio.wait_for(self._fleet.remote(), config.probe_timeout_s)
        except (*FAILED, TimeoutError) as error:
            raise ApiError(503, "the load monitor is restarting", retry_after_s=config.retry_after_s) from error
        return view

    async def _ask_all(self, method: str, config: IngressConfig) -> list[Any]:
        """What the replicas that answer in time say."""
        call = self._replicas.broadcast(method)
        try:
            answers = await call.results_async(timeout_s=config.probe_timeout_s, return_exceptions=True)
        except (*FAILED, TimeoutError) as error:
            raise as_api_error(error, config) from error
        return [answer for answer in answers if not isinstance(answer, BaseException)]

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
