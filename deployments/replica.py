"""One engine behind one actor: serves calls, swaps policies live, reports to the load monitor."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from grpc import RpcError
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.autoscaling import DESIRED
from deployments.backend import Backend, EngineFailed, PolicyRefused, make
from deployments.calls import Call, Head, answer, whole
from deployments.cancelled import cancelled
from deployments.live import Live
from deployments.observe import speculation
from deployments.observe.spans import Spans
from deployments.problems import Problem, of_policy, of_refusal
from deployments.progress import Progress
from deployments.replica_metrics import ReplicaMetrics
from deployments.settings import AppArgs, ReplicaConfig
from deployments.status import ReplicaStatus
from policies.exchange import LoadOutlook, ReplicaReport
from policies.registry import PolicySpec, imports

logger = logging.getLogger(__name__)

RESIDENCE_GAIN = 0.1  # of the running mean of how long requests stay
OK = 200

AWAY = (RayError, RayServeException, RpcError, TimeoutError)
"""What Ray, Serve and gRPC beneath it raise while the load monitor restarts."""
NOBODY = {"batch": 0, "waiting": 0, "waiting_prefill_tokens": 0, "context_tokens": 0}
"""An engine without requests makes no steps: its report would go on showing the last one's batch."""


class Replica:
    """`max_ongoing_requests` bounds what is in flight here; the engine queues what its batch cannot take."""

    async def __init__(self, args: AppArgs, monitor: DeploymentHandle, name: str = "") -> None:  # type: ignore[misc]  # Serve awaits it
        self.engine = args.engine
        self.name = name or _replica_name()
        self.backend: Backend = make(args.engine)
        self.metrics = ReplicaMetrics()
        self._spans = Spans(args.tracing, "replica", lambda: 0.0)  # what to trace was decided at the ingress
        self._live = Live(ReplicaConfig(policy=args.engine.safe_policy))
        self._serving = args.engine.safe_policy
        self._policy_at_s = time.time()
        self._monitor = monitor
        self._reloading = asyncio.Lock()
        self._news = asyncio.Event()
        self._outlook: tuple[LoadOutlook, float] | None = None
        self._report_now: ReplicaReport | None = None
        self._desired_replicas: int | None = None
        self._received = self._in_flight = 0
        self._residence_s = 0.0
        self._reporting: asyncio.Task[None] | None = None
        self._started_at_s = time.time()
        await self.backend.start()
        self._progress, self._hung = Progress(), ""
        self._reporting = asyncio.create_task(self._report_forever())

    async def serve(self, call: Call) -> AsyncIterator[Head | bytes]:
        """A Head with the first part of the body, then the further parts as the engine makes them."""
        started_s, served = time.monotonic(), False
        self._received += call.method == "POST"  # a client that lists the models asks for nothing to be generated
        self._in_flight += 1
        call, span = self._spans.replica(call)
        try:
            async with aclosing(answer(self.backend.app, call)) as parts:
                async for part in parts:
                    if _says_error(part):
                        await self.backend.check_health()  # vLLM tells a dead engine's clients [DONE] after the error
                    served |= call.method == "POST" and isinstance(part, Head) and part.status == OK
                    yield replace(part, replica=self.name) if isinstance(part, Head) else part
        except Exception:
            await self.backend.check_health()  # a dead engine shows in many ways
            raise
        finally:
            span.end()
            self._in_flight -= 1
            if served:
                stayed_s = time.monotonic() - started_s
                self._residence_s += (RESIDENCE_GAIN if self._residence_s else 1.0) * (stayed_s - self._residence_s)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Checked before anything is touched; what is refused leaves the old config serving. Never raises."""
        async with self._reloading:
            try:
                problems = await self._try(user_config)
            except Exception as error:  # noqa: BLE001 - Serve stops a replica whose reconfigure raises, whatever it is
                problems = [Problem(field="(all)", value=type(error).__name__, fix=str(error))]
            if problems:
                self._live.reject(problems)
            self.metrics.reloaded("rejected" if problems else "applied")
            self._news.set()

    async def exposition(self) -> str:
        """The engine's metrics and ours, of the last report."""
        _, engine = await whole(self.backend.app, Call("GET", "/metrics"))
        ours = speculation.exposition(self._report_now, self.engine.k_max)
        ours += self._spans.exposition("adaspec_replica_spans")
        return engine.decode() + ours + self.metrics.exposition(refused=self._live.rejection is not None)

    async def check_health(self) -> None:
        """Serve replaces the replica when this raises: a dead engine, or one that holds requests and makes no step."""
        still_s = self._progress.still_s()
        if still_s > self._live.now.stalled_after_s and not self._hung:
            self._hung = f"the engine has made no step and given no answer for {still_s:.0f} s"
            self.backend.kill()
            await self._tell(self._monitor.hung.remote(self.name))
        if self._hung:
            raise EngineFailed(self._hung)
        await self.backend.check_health()
        if self._reporting is not None and self._reporting.done():
            raise EngineFailed("reporting ended") from self._reporting.exception()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve's autoscaler asks; `autoscaling.follow` reads it. Empty until the monitor has answered."""
        return {} if self._desired_replicas is None else {DESIRED: float(self._desired_replicas)}

    async def status(self) -> ReplicaStatus:
        """The engine's figures and what this replica knows beside them."""
        report = await self.backend.exchange(self._aged_outlook())
        self._progress.answered(report.steps, self.backend.held())
        if not self._in_flight:
            report = report.model_copy(update=NOBODY)
        self._report_now = report
        for traced in report.traced:
            self._spans.engine(traced)
        return ReplicaStatus(
            replica=self.name,
            pid=os.getpid(),
            started_at_s=self._started_at_s,
            policy=self._serving,
            policy_at_s=self._policy_at_s,
            reloads_applied=self._live.applied,
            reloads_rejected=self._live.rejected,
            last_rejection=self._live.rejection,
            received=self._received,
            residence_s=self._residence_s,
            seats=self.engine.max_num_seqs,
            desired_replicas=self._desired_replicas,
            report=report.model_copy(update={"traced": ()}),
        )

    async def __del__(self) -> None:
        if self._reporting is not None:  # else the engine never started
            self._reporting.cancel()
            await self._tell(self._monitor.leave.remote(self.name))
            await self.backend.stop()

    async def _try(self, user_config: dict[str, Any]) -> list[Problem]:
        parsed = self._live.parse(user_config)
        if isinstance(parsed, list):
            return parsed
        # A user's module is imported in the engine alone, whose watchdog ends a loop; here nothing would.
        problems = [] if imports(parsed.policy) else of_policy(parsed.policy, self.engine.k_max)
        if not problems:
            problems = await self._set_policy(parsed.policy)
        if not problems:
            self._live.accept(parsed)
        return problems

    async def _set_policy(self, spec: PolicySpec) -> list[Problem]:
        if spec == self._serving:
            return []
        limit_s = self._live.now.stalled_after_s  # Serve does not ask for a replica's health while it reconfigures
        try:
            async with asyncio.timeout(limit_s):
                await self.backend.set_policy(spec)
        except (PolicyRefused, EngineFailed) as error:
            return [of_refusal(spec, str(error))]
        except TimeoutError:
            return [of_refusal(spec, f"the engine gave no answer for {limit_s:g} s")]
        self._serving, self._policy_at_s = spec, time.time()
        return []

    async def _report_forever(self) -> None:
        while not cancelled():
            started_s = time.monotonic()
            self._news.clear()
            await self._report(await self.status())
            rest_s = self._live.now.report_every_s - (time.monotonic() - started_s)
            try:
                await asyncio.wait_for(self._news.wait(), max(rest_s, 0))
            except TimeoutError:
                continue

    async def _report(self, status: ReplicaStatus) -> None:
        """Without the monitor the engine goes on with its exact local state; the outlook ages."""
        try:
            answer = await asyncio.wait_for(self._monitor.exchange.remote(status), timeout=1)
            self._outlook = answer.outlook, time.monotonic()
            self._desired_replicas = answer.desired_replicas
            if answer.scrape:
                await asyncio.wait_for(self._monitor.expose.remote(self.name, await self.exposition()), timeout=1)
        except AWAY as error:
            if self.metrics.exchange_failed():
                logger.warning("load monitor unreachable, local state only: %r", error)

    async def _tell(self, call: Awaitable[Any]) -> None:
        """That it ends, or why: else the monitor would show this replica until it had been silent for too long."""
        try:
            await asyncio.wait_for(call, timeout=1)
        except AWAY as error:
            logger.info("load monitor unreachable, it will forget this replica: %r", error)

    def _aged_outlook(self) -> LoadOutlook | None:
        if self._outlook is None:
            return None
        outlook, at_s = self._outlook
        return outlook.model_copy(update={"age_s": outlook.age_s + time.monotonic() - at_s})


def _says_error(part: Head | bytes) -> bool:
    """An answer of the engine's own that it failed: a status, or an event of a stream."""
    body = part.body if isinstance(part, Head) else part
    return body.startswith(b'data: {"error"') or (isinstance(part, Head) and part.status >= 500)


def _replica_name() -> str:
    """Serve's unique id of this replica."""
    return str(serve.get_replica_context().replica_id.unique_id)
