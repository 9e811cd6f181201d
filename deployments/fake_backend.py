"""A test double for an engine.

Its contract:
- Token i of a request is a word made from (prompt, seed, choice, i) alone; `max_tokens` of them, or up to a stop word.
- The first takes `ttft_ms`, each further one `tpot_ms + tpot_per_request_ms * (other running requests)`.
- With `"fake": {"hold_at": i, "until": path}` in its body a request emits token i only once the file `path` exists.
- A token is a step. An engine whose requests are all held so makes none: it hangs, and `kill` fails them.
- `system_fingerprint` of every part of an answer names the policy it was made under.
- A policy is really built from the registry; new parameters keep the learned state, a new name starts afresh.
- With `step_ms` tokens come in decode steps instead (fake_steps.py): the policy really runs, on times and acceptance
  that are made up.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from starlette.applications import Starlette

from deployments.backend import EngineFailed, PolicyRefused
from deployments.engine.requests import SLO_KEY
from deployments.fake_api import FakeRequest, routes
from deployments.fake_steps import FakeSteps, Seat
from deployments.settings import FakeEngine
from policies.api import PolicyContext
from policies.estimators import default_models
from policies.exchange import LoadOutlook, ReplicaReport
from policies.registry import PolicyError, PolicySpec, build

POLL_S = 0.005  # a held request looks for its file this often


class FakeBackend:
    """Implements deployments.backend.Backend."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.counters: Counter[str] = Counter()
        self.spec = engine.safe_policy
        self.outlook: LoadOutlook | None = None
        self._learned_tokens = 0
        self._killed = False
        self._steps = FakeSteps(engine) if engine.step_ms else None
        self._requests = itertools.count()
        self.app = Starlette(routes=routes(self))

    async def start(self) -> None:
        await self.set_policy(self.engine.safe_policy)

    async def set_policy(self, spec: PolicySpec) -> dict[str, Any]:
        try:
            build(spec, PolicyContext(self.engine.k_max, default_models(self.engine.k_max)))
        except (PolicyError, SystemExit) as error:
            raise PolicyRefused(str(error)) from error
        if spec.name != self.spec.name:
            self._learned_tokens = 0
        self.spec = spec
        return self._policy_state() if self._steps is None else self._steps.host.set_policy(spec.name, spec.params)

    async def exchange(self, outlook: LoadOutlook | None) -> ReplicaReport:
        self.outlook = outlook
        if self._steps is not None:
            return ReplicaReport.model_validate(self._steps.host.exchange(outlook))
        return ReplicaReport(
            at_s=time.time(),
            batch=self.counters["running"],
            steps=self.counters["tokens"],
            emitted_tokens=self.counters["tokens"],
            policy=self.spec.name,
            policy_state=self._policy_state(),
        )

    async def check_health(self) -> None:
        if self._killed:
            raise EngineFailed("killed")

    def held(self) -> int:
        return self.counters["running"] if self._steps is None else self._steps.held()

    def kill(self) -> None:
        self._killed = True

    async def stop(self) -> None:
        return None

    async def tokens(self, request: FakeRequest, choice: int) -> AsyncIterator[str]:
        """The words of one choice, in time."""
        self.counters["running"] += 1
        try:
            async for i in self._paced(request, choice):
                await self._pass_gate(request, i)
                self.counters["tokens"] += 1
                self._learned_tokens += 1
                request.tally.came()
                yield self._word(request, choice, i)
        except asyncio.CancelledError:
            self.counters["cancelled"] += 1
            raise
        finally:
            self.counters["running"] -= 1

    async def _paced(self, request: FakeRequest, choice: int) -> AsyncIterator[int]:
        """Numbers of the tokens, each when its time has come."""
        if self._steps is None:
            for i in range(request.limit):
                await asyncio.sleep(self._duration_s(i))
                yield i
            return
        slo_ms, words = request.extra_args.get(SLO_KEY), len(request.prompt.split())
        name = f"{request.id}-{choice}-{next(self._requests)}"
        seat = Seat(name, request.limit, words, float(slo_ms) / 1e3 if slo_ms else math.inf, request.priority)
        numbers = itertools.count()
        async with aclosing(self._steps.tokens(seat, request.extra_args)) as gains:
            async for gained in gains:
                request.tally.drafted, request.tally.accepted = seat.drafted, seat.accepted
                for i in itertools.islice(numbers, gained):
                    yield i

    def fingerprint(self) -> str:
        return f"{self.spec.name}{self.spec.params}"

    async def _pass_gate(self, request: FakeRequest, i: int) -> None:
        if request.hold_at != i or request.until is None:
            return
        self.counters["held"] += 1
        try:
            while not request.until.exists():
                await self.check_health()
                await asyncio.sleep(POLL_S)
        finally:
            self.counters["held"] -= 1

    def _duration_s(self, i: int) -> float:
        others = self.counters["running"] - 1
        return (self.engine.tpot_ms + self.engine.tpot_per_request_ms * others if i else self.engine.ttft_ms) / 1e3

    @staticmethod
    def _word(request: FakeRequest, choice: int, i: int) -> str:
        return f" w{zlib.crc32(f'{request.prompt}/{request.seed}/{choice}/{i}'.encode()) % 997}"

    def _policy_state(self) -> dict[str, Any]:
        return {"params": dict(self.spec.params), "state": {"tokens": self._learned_tokens}}
