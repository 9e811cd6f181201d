"""One simulated engine: continuous batching with chunked prefill, a KV limit and preemption, step by step.

A step, as in the engine: verify ends -> tokens out, policy learns -> plan, draft, select -> schedule -> next verify.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from itertools import islice
from typing import TypeVar

import numpy as np

from loadgen.sim.batch import Batch
from loadgen.sim.queueing import Chunk, Prompt, Queue
from loadgen.sim.record import Record, Tally
from loadgen.sim.scenario import Scenario
from loadgen.sim.speculation import Drafts, Speculation
from loadgen.sim.workload import IntArray, Workload
from policies.api import StepView
from policies.exchange import LoadOutlook

NOISE_BLOCK = 1024
Tokens = TypeVar("Tokens", int, IntArray)


class Phase(Enum):
    """Where a replica is in its step."""

    IDLE = 0
    DRAFTING = 1
    VERIFYING = 2


class Replica:
    """Call `advance` at the time its last call (or `submit` on an idle replica) asked for."""

    def __init__(
        self,
        scenario: Scenario,
        work: Workload,
        record: Record,
        spec: Speculation,
        batch: Batch,
        tally: Tally,
        rng: np.random.Generator,
    ) -> None:
        self._truth, self._engine = scenario.truth, scenario.engine
        self._work, self._record, self._spec, self._rng = work, record, spec, rng
        self.batch, self.queue, self.tally = batch, Queue(), tally
        self.phase, self.outlook = Phase.IDLE, None
        self.kv_blocks = self._truth.kv_tokens // self._engine.block_tokens
        self._exchange_s = scenario.fleet.exchange_s
        self._noise: list[float] = []
        self._drafts: Drafts | None = None
        self._chunks: list[Chunk] = []
        self._step = self._decode_blocks = self._context = 0
        self._verify_s = 0.0
        self._left_waiting = (0, 0)  # requests and their tokens after the last scheduling: all an engine's worker knows
        self._resident_at_s = 0.0  # inf: the draft is offloaded

    outlook: LoadOutlook | None

    @property
    def load(self) -> int:
        """Requests decoding, prefilling and waiting."""
        return self.batch.n + len(self.queue.prefilling) + len(self.queue.waiting)

    @property
    def faults(self) -> Counter[str]:
        """The guard's count of what the policy did wrong, by kind."""
        return self._spec.guard.faults

    def used_blocks(self) -> int:
        """KV blocks held, look-ahead slots included."""
        return self.queue.reserved_blocks + self._decode_blocks

    def next_prefill_tokens(self) -> int:
        """Prompt tokens the next step would compute if it verified no drafts and KV sufficed."""
        queue = self.queue
        free = self._truth.seats - self.batch.n - len(queue.prefilling)
        left = sum(p.left for p in (*queue.prefilling, *islice(queue.waiting, max(free, 0))))
        return min(left, self._truth.token_budget - self.batch.n)

    def submit(self, request: int, now: float) -> float | None:
        """Queue a request; when the replica was idle, returns when to call `advance`."""
        self.queue.add(Prompt(request, int(self._work.prompt_tokens[request])))
        return self._schedule(now) if self.phase is Phase.IDLE else None

    def advance(self, now: float) -> float | None:
        """Go on from `now`; returns when to call again, None: nothing to do."""
        if self.phase is Phase.VERIFYING:
            self._verified(now)
            drafts = self._plan(now)
            if drafts and drafts.draft_s > 0:
                self.phase = Phase.DRAFTING
                return now + drafts.draft_s
        return self._schedule(now)

    def _verified(self, now: float) -> None:
        self._emit(now)
        self.queue.computed(self._chunks)
        done = self.queue.finished()
        for prompt in done:
            self._joins(prompt, now)
        if done:
            self.batch.joined()
        finished = self.batch.emitted >= self.batch.output
        if finished.any():
            self._record.finish(self.batch.request[finished], now)
            self.batch.keep(~finished)
        self._decode_blocks = int(self._blocks(self.batch.context).sum())

    def _emit(self, now: float) -> None:
        drafts, batch = self._drafts, self.batch
        if drafts is None or batch.n == 0:
            return
        accepted = drafts.lengths
        if drafts.k:
            accepted = np.minimum(self._spec.accepted(batch), drafts.lengths)
        batch.emitted[:] += accepted + 1
        batch.context[:] += accepted + 1
        prefill = sum(c.tokens for c in self._chunks)
        seen = drafts.feedback(accepted, prefill, self._verify_s)
        self.tally.add(now, seen)
        self._spec.learn(seen)

    def _joins(self, prompt: Prompt, now: float) -> None:
        """The last chunk's forward pass yields the next token."""
        self.queue.reserved_blocks -= self._blocks(prompt.tokens)
        first_s = now if prompt.first_s is None else prompt.first_s
        if prompt.first_s is None:
            self._record.first_s[prompt.request] = now
        self.batch.join(prompt.request, prompt.tokens + 1, prompt.emitted + 1, prompt.lag, prompt.fresh, first_s)

    def _plan(self, now: float) -> Drafts | None:
        self._drafts = None
        fresh = sum(c.tokens for c in self._chunks)
        self._context = int(self.batch.context.sum())
        if self.batch.n:
            self._step += 1
            resident = now >= self._resident_at_s
            self._drafts = self._spec.draft(self._view(now, fresh), self.batch, self._context, resident=resident)
            self._drafts.draft_s *= self._jitter()
            self._remember(self._drafts.memory, now)
        self.queue.drafted(ran=self._drafts is not None and self._drafts.k > 0)
        return self._drafts

    def _view(self, now: float, fresh: int) -> StepView:
        batch, outlook = self.batch, self.outlook
        if outlook is not None and now - outlook.at_s > self._exchange_s:  # a younger one is as good as new
            outlook = outlook.model_copy(update={"age_s": max(0.0, now - outlook.at_s)})
        return StepView(
            step=self._step,
            at_s=now,
            k_max=self._engine.k_max,
            request_ids=batch.request_ids,
            context_tokens=batch.context.copy(),
            emitted_tokens=batch.emitted.copy(),
            elapsed_decode_s=now - batch.first_s,
            tpot_slo_s=batch.tpot_slo_s,
            temperature=batch.temperature,
            draft_lag_tokens=batch.lag.copy(),
            k_limit=np.minimum(batch.output - batch.emitted - 1, self._engine.k_max),
            prefill_tokens=fresh,
            waiting=self._left_waiting[0],
            waiting_prefill_tokens=self._left_waiting[1],
            token_budget=self._truth.token_budget,
            free_kv_fraction=1 - self.used_blocks() / self.kv_blocks,
            outlook=outlook,
        )

    def _remember(self, memory: str, now: float) -> None:
        """The draft's weights leave for more KV, or come back."""
        extra = self._truth.offload_kv_tokens // self._engine.block_tokens
        if memory == "offload" and self._resident_at_s <= now and extra:
            self._resident_at_s = np.inf
            self.kv_blocks += extra
        elif memory == "reload" and self._resident_at_s == np.inf:
            self._resident_at_s = now + self._truth.reload_s
            self.kv_blocks -= extra

    def _schedule(self, now: float) -> float | None:
        self._preempt()
        budget = self._fit_budget()
        self._chunks = self._prefill(budget)
        self._left_waiting = self.queue.left_waiting()
        tokens = self._truth.token_budget - budget + sum(c.tokens for c in self._chunks)
        if tokens == 0:
            self.phase = Phase.IDLE
            return None
        context = self._context + sum(c.prompt.done for c in self._chunks)
        drafts = self._drafts is not None and bool(self._drafts.lengths.any())
        busy = self._truth.verify_s(tokens, self.batch.n + len(self._chunks), context, drafts=drafts)
        self._verify_s = busy * self._jitter()
        self.phase = Phase.VERIFYING
        return now + self._verify_s

    def _fit_budget(self) -> int:
        """Tokens left for prompts; verify lengths are cut evenly where they alone exceed the budget."""
        budget = self._truth.token_budget - self.batch.n
        if self._drafts is None or not self._drafts.k:
            return budget
        if self._drafts.lengths.sum() > budget:
            self._drafts.lengths = np.minimum(self._drafts.lengths, budget // self.batch.n)
        return budget - int(self._drafts.lengths.sum())

    def _prefill(self, budget: int) -> list[Chunk]:
        chunks: list[Chunk] = []
        for prompt in self.queue.prefilling:
            if budget > 0:
                chunks.append(Chunk(prompt, min(budget, prompt.left)))
                budget -= chunks[-1].tokens
        while budget > 0 and self._admits():
            prompt = self.queue.prefilling[-1]
            chunks.append(Chunk(prompt, min(budget, prompt.left)))
            budget -= chunks[-1].tokens
        return chunks

    def _admits(self) -> bool:
        queue = self.queue
        if not queue.waiting or self.batch.n + len(queue.prefilling) >= self._truth.seats:
            return False
        blocks = self._blocks(queue.waiting[0].tokens)
        if self.used_blocks() + blocks > self.kv_blocks:
            return False
        queue.admit(blocks)
        return True

    def _preempt(self) -> None:
        """The last to join loses its KV and computes all of its context again."""
        batch = self.batch
        while batch.n > 1 and self.used_blocks() > self.kv_blocks:
            last = np.arange(batch.n) == batch.n - 1
            request = int(batch.request[-1])
            prompt = Prompt(request, int(batch.context[-1]), int(batch.emitted[-1]), float(batch.first_s[-1]))
            self.queue.add(prompt, front=True)
            self._record.preempted[request] += 1
            self._decode_blocks -= self._blocks(int(batch.context[-1]))
            self._context -= int(batch.context[-1])
            batch.keep(~last)
            if self._drafts:
                self._drafts.keep(~last)

    def _blocks(self, context: Tokens) -> Tokens:
        """KV blocks of these contexts; look-ahead slots for the longest draft are always reserved."""
        size = self._engine.block_tokens
        return (context + (self._engine.k_max + size - 1)) // size

    def _jitter(self) -> float:
        if not self._noise:
            sigma2 = np.log1p(self._truth.noise**2)
            self._noise = self._rng.lognormal(-sigma2 / 2, np.sqrt(sigma2), NOISE_BLOCK).tolist()
        return self._noise.pop()
