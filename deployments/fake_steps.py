"""The fake engine's decode steps: a real policy on real models, over a batch whose times and acceptance are made up.

One step at a time, as an engine has: whoever waits and finds a seat joins; the policy plans, may stop, selects; the
step takes its stated time; every request gains its accepted tokens and one more.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deployments.engine.host import Drafting, PolicyHost, Verified
from deployments.engine.settings import EngineSettings
from deployments.settings import FakeEngine
from policies.api import DraftObservation, Feature, FloatArray, IntArray, StepView

CONCENTRATION = 3.0
"""Of the beta distribution drafts' confidences come from: they scatter as a real draft's do."""
KV_TOKENS = 65536
"""Size of the pretended KV cache."""


@dataclass(slots=True)
class Seat:
    """One request from arrival to its last token."""

    request_id: str
    limit: int
    prompt_tokens: int
    tpot_slo_s: float = float("inf")
    priority: int = 0  # as in vLLM, the lowest goes first
    emitted: int = 0
    drafted: int = 0
    accepted: int = 0
    first_token_s: float = 0.0
    gained: asyncio.Queue[int] = field(default_factory=asyncio.Queue)


class FakeSteps:
    """Runs while somebody decodes. Its host answers `set_policy` and `exchange` as an engine's does."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self.host = PolicyHost(EngineSettings(policy=engine.safe_policy), engine.k_max)
        self._rng = np.random.default_rng(0)
        self._running: list[Seat] = []
        self._waiting: deque[Seat] = deque()
        self._loop: asyncio.Task[None] | None = None
        self._step = 0

    async def tokens(self, seat: Seat, extra_args: dict[str, Any]) -> AsyncGenerator[int, None]:
        """Counts of tokens gained, until the request has all of its own. Leaving frees the seat."""
        self._waiting.append(seat)
        self.host.traces.scheduled(seat.request_id, extra_args)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run())
        left = seat.limit
        try:
            while left:
                gained = await seat.gained.get()
                left -= gained
                yield gained
        finally:
            self._drop(seat)

    def held(self) -> int:
        return len(self._running) + len(self._waiting)

    def _drop(self, seat: Seat) -> None:
        for seats in (self._running, self._waiting):
            if seat in seats:
                seats.remove(seat)
        self.host.traces.finished([seat.request_id], self.host.spec.name)

    async def _run(self) -> None:
        while self._running or self._waiting:
            await self._admit()
            seats = list(self._running)
            if not seats:
                continue
            started_s = time.perf_counter()
            drafting, confidence = self._draft(seats)
            draft_s = self._engine.draft_ms * drafting.k / 1e3
            verify_s = (self._engine.step_ms + self._engine.step_token_ms * self._tokens(drafting)) / 1e3
            await asyncio.sleep(draft_s + verify_s)
            self._verify(seats, drafting, confidence, verify_s, time.perf_counter() - started_s)

    async def _admit(self) -> None:
        """Whoever finds a seat is prefilled: one prompt a step, as its time allows nobody else to decode."""
        if self._waiting and len(self._running) < self._engine.max_num_seqs:
            seat = min(self._waiting, key=lambda waiting: waiting.priority)  # the first of its priority
            self._waiting.remove(seat)
            self._running.append(seat)
            await asyncio.sleep(self._engine.ttft_ms / 1e3)
            if seat in self._running:
                seat.first_token_s, seat.emitted = time.perf_counter(), 1
                self.host.telemetry.stepped(1)
                seat.gained.put_nowait(1)
                self._running = [each for each in self._running if each.emitted < each.limit]

    def _draft(self, seats: list[Seat]) -> tuple[Drafting, FloatArray]:
        view = self._view(seats)
        drafting = self.host.plan(view)
        mean = self._engine.acceptance
        shape = CONCENTRATION * mean, CONCENTRATION * (1 - mean)
        confidence = self._rng.beta(*shape, (len(seats), view.k_max)) if mean < 1 else np.ones((len(seats), view.k_max))
        k, features = self._stop(drafting, confidence)
        self.host.select(drafting, k, features, sampled=False, draft_s=self._engine.draft_ms * k / 1e3)
        return drafting, confidence

    def _stop(self, drafting: Drafting, confidence: FloatArray) -> tuple[int, dict[Feature, FloatArray]]:
        needs = self.host.needs(drafting) if drafting.k else frozenset()
        k = drafting.k
        for j in range(drafting.k - 1):
            seen: dict[Feature, FloatArray] = dict.fromkeys(needs, confidence[:, j])
            if self.host.stops_early and not self.host.go_on(DraftObservation(j, seen, 0.0)):
                k = j + 1
                break
        return k, dict.fromkeys(needs, confidence[:, :k])

    def _verify(
        self, seats: list[Seat], drafting: Drafting, confidence: FloatArray, verify_s: float, step_s: float
    ) -> None:
        hit = self._rng.random(confidence.shape) < confidence
        accepted = np.minimum(np.logical_and.accumulate(hit, axis=1).sum(1), drafting.lengths)
        here = np.array([seat in self._running for seat in seats])
        rows = np.flatnonzero(here)
        if len(rows):
            seen = Verified(rows, drafting.lengths[rows], accepted[rows], 0, verify_s, step_s, idle=False)
            self.host.feedback(drafting, seen)
        emitted = 0
        for seat, gained, drafted in zip(seats, (accepted + 1).tolist(), drafting.lengths.tolist(), strict=True):
            seat.drafted, seat.accepted = seat.drafted + drafted, seat.accepted + gained - 1
            emitted += self._give(seat, gained)
        self.host.telemetry.stepped(emitted)
        self._running = [seat for seat in self._running if seat.emitted < seat.limit]

    @staticmethod
    def _give(seat: Seat, gained: int) -> int:
        gained = min(gained, seat.limit - seat.emitted)
        seat.emitted += gained
        if gained:
            seat.gained.put_nowait(gained)
        return gained

    @staticmethod
    def _tokens(drafting: Drafting) -> int:
        return drafting.view.batch + int(drafting.lengths.sum())

    def _view(self, seats: list[Seat]) -> StepView:
        self._step += 1
        now_s = time.perf_counter()
        batch, emitted = len(seats), _ints([s.emitted for s in seats])
        context = emitted + _ints([s.prompt_tokens for s in seats])
        return StepView(
            step=self._step,
            at_s=now_s,
            k_max=self._engine.k_max,
            request_ids=tuple(s.request_id for s in seats),
            context_tokens=context,
            emitted_tokens=emitted,
            elapsed_decode_s=np.array([now_s - s.first_token_s for s in seats]),
            tpot_slo_s=np.array([s.tpot_slo_s for s in seats]),
            temperature=np.zeros(batch),
            draft_lag_tokens=np.zeros(batch, np.int64),
            k_limit=np.clip(_ints([s.limit - s.emitted - 1 for s in seats]), 0, self._engine.k_max),
            waiting=len(self._waiting),
            waiting_prefill_tokens=sum(s.prompt_tokens for s in self._waiting),
            token_budget=2048,
            free_kv_fraction=max(0.0, 1 - float(context.sum()) / KV_TOKENS),
            outlook=self.host.current_outlook(),
        )


def _ints(values: list[int]) -> IntArray:
    return np.array(values, np.int64)
