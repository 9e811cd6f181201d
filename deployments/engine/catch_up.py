"""Fills the holes that steps at K = 0 leave in the draft's KV cache: the draft is prefilled with what it missed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from vllm.config import CUDAGraphMode
from vllm.forward_context import set_forward_context

from deployments.engine.draft_kv import DraftCache, spans
from deployments.engine.step import StepBook
from policies.api import IntArray

Span = tuple[int, int, int]  # row, from, to


class CatchUp:
    """Tracks the draft's cache over the runner's batch and runs the missing positions through the draft."""

    def __init__(self, runner: Any, cache: DraftCache, group: int, *, enabled: bool = True) -> None:
        self._runner, self._cache, self._group, self._enabled = runner, cache, group, enabled
        self.forget = cache.forget

    def lag(self, book: StepBook) -> IntArray:
        """[rows] draft positions missing before this step's own tokens."""
        return self._cache.lag(book.request_ids, book.starts, self._tables(book))

    def before_draft(self, proposer: Any, book: StepBook, metadata: Any, *, run: bool) -> None:
        """Account for this step's tokens; where the draft is about to run, fill what is missing first."""
        tables = self._tables(book)
        if run:
            if self._enabled:
                self._fill(proposer, book, metadata, tables)
            self._cache.extend(book.request_ids, book.starts + book.committed)
        self._cache.mark(book.starts, book.counts, tables, filled=run)

    def failed(self, book: StepBook) -> None:
        """The draft raised in the middle of this step: what it wrote for these requests is not relied on."""
        self._cache.forget(book.request_ids)
        self._cache.mark(book.starts, book.counts, self._tables(book), filled=False)

    def passed(self, steps: int) -> None:
        """The last `steps` steps wrote a token a request without the draft; the runner's batch is still theirs."""
        if not steps:
            return
        batch = self._runner.input_batch
        n = len(batch.req_ids)
        starts = batch.num_computed_tokens_cpu[:n].astype(np.int64) - (steps - 1)
        tables = batch.block_table[self._group].get_numpy_array()[:n]
        self._cache.mark(starts, np.full(n, steps), tables, filled=False)

    def _tables(self, book: StepBook) -> NDArray[np.int32]:
        tables: NDArray[np.int32] = self._runner.input_batch.block_table[self._group].get_numpy_array()
        return tables[: book.num_rows]

    def _fill(self, proposer: Any, book: StepBook, metadata: Any, tables: NDArray[np.int32]) -> None:
        lags = self.lag(book)
        if not lags.any():
            return
        for batch in spans(lags, book.starts, proposer.max_num_tokens):
            self._forward(proposer, batch, metadata, tables)
            for row, start, end in batch:
                one = slice(row, row + 1)
                self._cache.mark(np.array([start]), np.array([end - start]), tables[one], filled=True)
        book.caught_up(int(lags.sum()))

    def _forward(self, proposer: Any, batch: list[Span], metadata: Any, tables: NDArray[np.int32]) -> None:
        """One draft forward over the spans' tokens, writing their keys and values; its output is dropped."""
        positions = np.concatenate([np.arange(a, b) for _, a, b in batch])
        rows = np.repeat([r for r, _, _ in batch], [b - a for _, a, b in batch])
        tokens = self._runner.input_batch.token_ids_cpu[rows, positions]
        n, device = len(positions), proposer.input_ids.device
        proposer.input_ids[:n] = torch.as_tensor(tokens, dtype=torch.int32, device=device)
        proposer.positions[:n] = torch.as_tensor(positions, dtype=torch.int64, device=device)
        slots = torch.as_tensor(self._cache.slots(positions, tables[rows]), device=device)
        attention = _metadata(metadata, batch, slots, device)
        _, per_layer = proposer.build_per_group_and_layer_attn_metadata(attention)
        with set_forward_context(
            per_layer,
            proposer.vllm_config,
            num_tokens=n,
            cudagraph_runtime_mode=CUDAGraphMode.NONE,
            slot_mapping=proposer._get_slot_mapping(n, slots),  # noqa: SLF001 - as vLLM's own propose does
        ):
            proposer.model(input_ids=proposer.input_ids[:n], positions=proposer.positions[:n], inputs_embeds=None)


def _metadata(like: Any, batch: list[Span], slots: torch.Tensor, device: torch.device) -> Any:
    """Attention metadata for a batch of spans, each attending to everything before it."""
    counts = [b - a for _, a, b in batch]
    ends = torch.tensor([b for _, _, b in batch], dtype=torch.int32)
    starts = torch.tensor([0, *np.cumsum(counts).tolist()], dtype=torch.int32)
    rows = torch.tensor([r for r, _, _ in batch], device=device)
    return like.replace(
        query_start_loc=starts.to(device),
        query_start_loc_cpu=starts,
        seq_lens=ends.to(device),
        seq_lens_cpu_upper_bound=ends,
        num_reqs=len(batch),
        num_actual_tokens=int(starts[-1]),
        max_query_len=max(counts),
        max_seq_len=int(ends.max()),
        block_table_tensor=like.block_table_tensor[rows],
        slot_mapping=slots,
    )
