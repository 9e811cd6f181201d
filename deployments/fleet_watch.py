"""The ingress's exchange with the load monitor: the door's counts out, every replica's figures back."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import uuid
from collections import Counter

from deployments.admission import Door
from deployments.cancelled import cancelled
from deployments.dispatch import Dispatch
from deployments.door_metrics import DoorMetrics
from deployments.errors import ApiError
from deployments.live import Live
from deployments.settings import IngressConfig
from deployments.slo_status import ClassCount, DoorReport

logger = logging.getLogger(__name__)


class FleetWatch:
    """Begins with the first request: an ingress has an event loop only then."""

    def __init__(self, live: Live[IngressConfig], door: Door, metrics: DoorMetrics, dispatch: Dispatch) -> None:
        self._live, self._door, self._metrics, self._dispatch = live, door, metrics, dispatch
        self.name = uuid.uuid4().hex[:8]
        self._first: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._away = False

    async def started(self) -> None:
        """Whoever comes before the first figures waits for them; nobody waits for later ones."""
        if self._task is None:
            self._first = asyncio.create_task(self._exchange())
            nobody = contextvars.Context()  # else every later exchange would be traced as this request's
            self._task = asyncio.create_task(self._forever(), context=nobody)
        if self._first is not None and not self._first.done():
            await asyncio.shield(self._first)
        if self._task.done():
            self._task.result()  # raises what ended it

    def report(self) -> DoorReport:
        """This door in its own words."""
        waiting, counts = self._door.waiting(), self._metrics.counts
        classes = {
            of.name: ClassCount(
                ttft_ms=of.ttft_ms,
                tpot_ms=of.tpot_ms,
                prompt_tokens=self._metrics.prompt_tokens[of.name],
                waiting=waiting.get(of.name, 0),
                running=self._door.running(of.name),
                **counts.get(of.name, Counter()),
            )
            for of in self._live.now.classes
        }
        return DoorReport(door=self.name, classes=classes)

    async def _forever(self) -> None:
        while not cancelled():
            await asyncio.sleep(self._live.now.exchange_every_s)
            await self._exchange()

    async def _exchange(self) -> None:
        """Without the monitor the door goes on with the figures it has and what it sent itself."""
        try:
            answer = await self._dispatch.at_the_door(self.report(), self._live.now)
        except ApiError:
            if not self._away:
                logger.warning("load monitor unreachable, admission goes by the last figures and its own count")
            self._away = True
            self._door.unheard()
        else:
            self._away = False
            self._door.told(answer.replicas)
