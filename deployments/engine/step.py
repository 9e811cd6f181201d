"""One engine step as the worker sees it: from vLLM's batch to the policy's arrays and back."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deployments.engine.host import Drafting, PolicyHost, Verified
from deployments.engine.requests import RequestTable
from policies.api import BoolArray, DraftObservation, Feature, FloatArray, IntArray, StepView

NONE = np.zeros(0, np.int64)


class StepBook:
    """Filled as a step goes by; read by the proposer and the catch-up.

    `rows` are the engine rows that decode after this step; the others are prompt chunks still being computed.
    """

    def __init__(self, runner: Any, host: PolicyHost, k_max: int, max_model_len: int) -> None:
        self._runner, self._host, self._k_max, self._max_model_len = runner, host, k_max, max_model_len
        self._requests = RequestTable(host.telemetry.fallbacks)
        self._drafting: Drafting | None = None  # planned, waiting to be verified
        self._scheduler_output: Any = None
        self._queue: Any = None
        self._began_s = self._verified_s = 0.0
        self._now_s = 0.0
        self._step = 0
        self._draft_on = False  # the last plan ran the draft
        self.request_ids: list[str] = []
        self.starts = self.counts = self.committed = self.rows = NONE
        self._emitted = self._submitted = self._before = NONE
        self._even = Even(0)
        self._planned: frozenset[str] = frozenset()  # requests of the last plan, if all of its step's decode
        self.k = 0
        self.needs: frozenset[Feature] = frozenset()

    @property
    def num_rows(self) -> int:
        return len(self.request_ids)

    @property
    def stops_early(self) -> bool:
        return self.k > 1 and self._host.stops_early

    def begin(self, scheduler_output: Any, queue: Any) -> None:
        """The worker was handed a step."""
        self._began_s = time.perf_counter()
        self._scheduler_output, self._queue = scheduler_output, queue
        self._requests.forget(scheduler_output.finished_req_ids)
        self._host.telemetry.scheduled(
            len(scheduler_output.preempted_req_ids or ()),
            sum(new.num_computed_tokens for new in scheduler_output.scheduled_new_reqs),
        )
        self._host.traces.finished(scheduler_output.finished_req_ids, self._host.spec.name)
        for new in scheduler_output.scheduled_new_reqs:
            if new.sampling_params is not None:  # None: a pooling request
                self._host.traces.scheduled(new.req_id, new.sampling_params.extra_args)

    def verified(self, sampled_token_ids: torch.Tensor) -> None:
        """Read what the verify left and give feedback. `sampled_token_ids` [rows, 1 + drafts], -1: rejected."""
        self._now_s = time.perf_counter()
        self._read_batch(sampled_token_ids)
        self._feed_back(self._now_s)
        self._verified_s = self._now_s

    def passes(self) -> bool:
        """Whether the step just begun need not be planned: the same requests, a token each, a policy without drafts."""
        output = self._scheduler_output
        return (
            self.k == 0
            and output.num_scheduled_tokens.keys() == self._planned
            and output.total_num_scheduled_tokens == len(self._planned)
            and not output.scheduled_new_reqs
            and not output.scheduled_cached_reqs.resumed_req_ids
            and not output.has_structured_output_requests
            and self._host.passes()
        )

    def passed(self) -> None:
        """The step went by as one of an engine without speculation."""
        self._step += 1
        self._now_s, n = time.perf_counter(), len(self._planned)
        self._host.telemetry.stepped(n)
        done, self._drafting = self._drafting, None
        if done is None:
            self._timed()
        else:
            even, times = self._even_of(n), (self._now_s - self._began_s, self._now_s - self._verified_s)
            self._host.feedback(done, Verified(even.rows, even.zeros, even.zeros, 0, *times, idle=False))
        self._verified_s = self._now_s

    def plan(self, lag: IntArray | None) -> bool:
        """Ask the policy, given the rows' draft lag. True: the draft has to run."""
        if not len(self.rows):
            # Prompt chunks only: nobody to ask. A draft that was running keeps its cache filled.
            self.k = 0
            return self._draft_on
        self._drafting = self._host.plan(self._view(self._now_s, lag))
        whole = len(self.rows) == len(self.request_ids)
        self._planned = frozenset(self.request_ids) if whole else frozenset()
        self.k = self._drafting.k
        self.needs = self._host.needs(self._drafting) if self.k else frozenset()
        self._draft_on = self.k > 0
        return self._draft_on

    def may_stop(self, *, sampled: bool) -> bool:
        return self.k > 1 and self._drafting is not None and self._host.may_stop(self._drafting, sampled=sampled)

    def go_on(self, seen: DraftObservation) -> bool:
        return self._host.go_on(seen)

    def drafting_s(self) -> float:
        return time.perf_counter() - self._now_s

    def draft_failed(self, error: Exception) -> None:
        self._host.draft_failed(error)

    def caught_up(self, tokens: int) -> None:
        self._host.telemetry.caught_up(tokens)
        if self._drafting is not None:
            self._drafting.catch_up_tokens = tokens

    def select(self, k: int, seen: dict[Feature, FloatArray], *, sampled: bool, draft_s: float) -> IntArray:
        """Verify lengths of `rows`."""
        if self._drafting is None or not len(self.rows):
            return NONE
        return self._host.select(self._drafting, k, seen, sampled=sampled, draft_s=draft_s)

    # ---- parts ---------------------------------------------------------------------------------------------

    def _read_batch(self, sampled_token_ids: torch.Tensor) -> None:
        batch, output = self._runner.input_batch, self._scheduler_output
        self.request_ids = list(batch.req_ids)
        n = len(self.request_ids)
        self.starts = batch.num_computed_tokens_cpu[:n].astype(np.int64)
        self._before = batch.num_tokens_no_spec[:n] - batch.num_prompt_tokens[:n]
        discarded = self._runner.discard_request_mask.np[:n]
        chunks = int(np.count_nonzero(discarded))
        if output.total_num_scheduled_tokens == n and not chunks:
            self._read_plain(n)
        else:
            self._read_mixed(sampled_token_ids.cpu().numpy(), discarded)
        self._host.telemetry.stepped(int(self._emitted.sum()), chunks)

    def _read_plain(self, n: int) -> None:
        """Every request decoded one token and had no draft: the usual step at K = 0."""
        even = self._even_of(n)
        self.rows, self._submitted = even.rows, even.zeros
        self.counts = self.committed = self._emitted = even.ones

    def _even_of(self, n: int) -> Even:
        if n != len(self._even.ones):
            self._even = Even(n)
        return self._even

    def _read_mixed(self, ids: NDArray[np.int32], discarded: BoolArray) -> None:
        """Prompt chunks, drafts, or both."""
        scheduled, drafts = (
            self._scheduler_output.num_scheduled_tokens,
            self._scheduler_output.scheduled_spec_decode_tokens,
        )
        n = len(self.request_ids)
        self.counts = np.fromiter((scheduled[r] for r in self.request_ids), np.int64, n)
        self.rows = np.flatnonzero(~discarded)
        emitted = ((ids >= 0) & (ids < self._runner.input_batch.vocab_size)).sum(axis=1)
        self._submitted = np.fromiter((len(drafts.get(r, ())) for r in self.request_ids), np.int64, n)
        self._emitted = np.where(discarded, 0, emitted)
        self.committed = np.where(discarded, self.counts, self.counts - self._submitted + self._emitted - 1)

    def _feed_back(self, now: float) -> None:
        done, self._drafting = self._drafting, None  # once: a plan is not verified again when its requests come back
        if done is None:
            if self._planned == set(self.request_ids):  # the steps before it passed
                self._timed()
            return
        rows, here = self._matched(done.view.request_ids)
        if not len(rows):
            return
        # A padded admission carries placeholder drafts the policy did not ask for: count only what it did.
        submitted = np.minimum(self._submitted[here], done.lengths[rows])
        prefill = int(self.counts.sum() - self._submitted[here].sum()) - len(here)
        self._host.feedback(
            done,
            Verified(
                rows=rows,
                submitted=submitted,
                accepted=np.minimum(np.maximum(self._emitted[here] - 1, 0), submitted),
                prefill_tokens=max(prefill, 0),
                verify_s=now - self._began_s,
                step_s=now - self._verified_s,
                idle=False,  # one of the plan's requests is still here: the engine had work all along
            ),
        )

    def _timed(self) -> None:
        now = self._now_s
        self._host.telemetry.timed(len(self._planned), now - self._began_s, now - self._verified_s)

    def _matched(self, planned: tuple[str, ...]) -> tuple[IntArray, IntArray]:
        """Rows of the plan's batch whose requests are still here, and their rows in this step's."""
        if list(planned) == self.request_ids:
            rows = np.arange(len(planned))
            return rows, rows
        at = {r: i for i, r in enumerate(self.request_ids)}
        pairs = [(i, at[r]) for i, r in enumerate(planned) if r in at]
        rows, here = np.array(pairs, np.int64).reshape(-1, 2).T
        return rows, here

    def _view(self, now: float, lag: IntArray | None) -> StepView:
        rows, queue = self.rows, self._queue
        ids = self.request_ids if len(rows) == len(self.request_ids) else [self.request_ids[r] for r in rows.tolist()]
        known = self._requests.columns(ids, now, self._runner.requests)
        emitted = self._before[rows] + self._emitted[rows]
        context = self.starts[rows] + self.committed[rows] + 1
        room = np.minimum(self._max_model_len - context, known.max_tokens - emitted) - 1
        self._step += 1
        return StepView(
            step=self._step,
            at_s=now,
            k_max=self._k_max,
            request_ids=tuple(ids),
            context_tokens=context,
            emitted_tokens=emitted,
            elapsed_decode_s=now - known.first_token_at_s,
            tpot_slo_s=known.tpot_slo_s,
            temperature=known.temperature,
            draft_lag_tokens=np.zeros(len(rows), np.int64) if lag is None else lag[rows],
            k_limit=np.minimum(np.maximum(room, 0), self._k_max),
            prefill_tokens=int(self.counts.sum() - self._submitted[rows].sum()) - len(rows),
            waiting=None if queue is None else queue.waiting,
            waiting_prefill_tokens=None if queue is None else queue.waiting_prefill_tokens,
            token_budget=None if queue is None else queue.token_budget,
            free_kv_fraction=None if queue is None else queue.free_kv_fraction,
            outlook=self._host.current_outlook(),
        )


class Even:
    """Arrays [n] that every plain step of n requests shares; read-only, because policies see them."""

    def __init__(self, n: int) -> None:
        self.rows, self.ones, self.zeros = np.arange(n), np.ones(n, np.int64), np.zeros(n, np.int64)
        for array in (self.rows, self.ones, self.zeros):
            array.flags.writeable = False
