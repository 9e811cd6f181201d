"""A small paged KV cache with prefix sharing that remembers what each slot really holds, for the draft and the target.

Drives a `DraftCache` as the worker does and raises `Stale` as soon as it calls a slot filled that is not.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from deployments.engine.draft_kv import DraftCache, spans

BLOCK_SIZE = 3
BLOCKS_A_ROW = 8
MOST_ROWS = 4
NUM_BLOCKS = 34  # a little more than every row together can hold: freed blocks are soon reused
LONGEST = BLOCKS_A_ROW * BLOCK_SIZE - 4

Tokens = tuple[int, ...]
Op = tuple[str, int, int]
KINDS = ["step", "step", "step", "admit", "preempt", "resume", "finish"]
OPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5), st.integers(0, 9)), max_size=40)


class Stale(AssertionError):
    """The draft would read keys and values of other tokens."""


@dataclass
class Row:
    """A request and the positions its blocks hold."""

    request_id: str
    tokens: list[int]
    computed: int = 0
    table: list[int] = field(default_factory=list)


class Blocks:
    """Reference-counted blocks; a freed block keeps its content until it is handed out again, oldest first."""

    def __init__(self) -> None:
        self._references = [0] * NUM_BLOCKS
        self._free = list(range(NUM_BLOCKS))
        self._cached: dict[Tokens, int] = {}

    def fresh(self) -> int:
        block = self._free.pop(0)
        self._cached = {prefix: b for prefix, b in self._cached.items() if b != block}
        self._references[block] = 1
        return block

    def hits(self, tokens: list[int]) -> list[int]:
        """Blocks that hold the longest cached prefix, short of the last token."""
        found = []
        for end in range(BLOCK_SIZE, len(tokens), BLOCK_SIZE):
            block = self._cached.get(tuple(tokens[:end]))
            if block is None:
                break
            found.append(block)
            self._references[block] += 1
            self._free = [b for b in self._free if b != block]
        return found

    def publish(self, row: Row) -> None:
        for i in range(row.computed // BLOCK_SIZE):
            self._cached.setdefault(tuple(row.tokens[: (i + 1) * BLOCK_SIZE]), row.table[i])

    def release(self, table: list[int]) -> None:
        for block in reversed(table):
            self._references[block] -= 1
            if not self._references[block]:
                self._free.append(block)


class World:
    """One engine's requests, its cache, and what both models have really written there."""

    def __init__(self, cache: DraftCache, most_tokens: int = 4) -> None:
        self.cache, self._most_tokens = cache, most_tokens
        self._blocks = Blocks()
        self._target: dict[int, object] = {}
        self._draft: dict[int, object] = {}
        self.running: list[Row] = []
        self.waiting: list[Row] = []
        self._ids = itertools.count()
        self._draws = itertools.count(1000)  # sampled tokens: never the same twice
        self.caught_up = 0

    def apply(self, op: Op) -> None:
        kind, a, b = op
        if kind == "step" and self.running:
            self.step(run=a > 2, accepted=b % 3)
        elif kind == "admit" and len(self.running) + len(self.waiting) < MOST_ROWS:
            self.admit([a % 2 * 100 + i for i in range(2 + b)])
        elif kind == "preempt" and self.running:
            self.preempt(self.running[a % len(self.running)])
        elif kind == "resume" and self.waiting:
            self.start(self.waiting.pop(0))
        elif kind == "finish" and self.running:
            self.finish(self.running[a % len(self.running)])

    def admit(self, prompt: list[int]) -> Row:
        row = Row(f"r{next(self._ids)}", list(prompt))
        self.start(row)
        return row

    def start(self, row: Row) -> None:
        self.cache.forget([row.request_id])  # as on vLLM's resumed_req_ids; a new id is not known anyway
        row.table = self._blocks.hits(row.tokens)
        row.computed = len(row.table) * BLOCK_SIZE
        self.running.append(row)

    def preempt(self, row: Row) -> None:
        self.running.remove(row)
        self._blocks.release(row.table)
        row.table, row.computed = [], 0
        self.waiting.append(row)

    def finish(self, row: Row) -> None:
        self.running.remove(row)
        self._blocks.release(row.table)
        self.cache.forget([row.request_id])

    def step(self, *, run: bool, accepted: int = 0, chunk: int = 5) -> None:
        """Verify, catch up where the draft runs, draft, account: the order the worker keeps."""
        rows = self.running
        starts = np.array([r.computed for r in rows], np.int64)
        writes = [self._verify(row, accepted, chunk) for row in rows]
        counts, committed = np.array(writes, np.int64).reshape(-1, 2).T
        tables, ids = self.tables(), [r.request_id for r in rows]
        lags = self.cache.lag(ids, starts, tables)
        for row, end in zip(rows, (starts - lags).tolist(), strict=True):
            self._require(row, end)
        if run:
            self._fill(lags, starts, tables)
            self._copy_to_draft(np.repeat(np.arange(len(rows)), counts), _ranges(starts, counts), tables)
            self.cache.extend(ids, starts + committed)
        self.cache.mark(starts, counts, tables, filled=run)
        for row, done in zip(rows, committed.tolist(), strict=True):
            row.computed += done
            if run:
                self._require(row, row.computed)
            self._blocks.publish(row)
        for row in [r for r in rows if len(r.tokens) > LONGEST]:
            self.finish(row)

    def tables(self) -> NDArray[np.int32]:
        """vLLM's block tables: rows padded with what happens to lie there."""
        padded = np.full((len(self.running), BLOCKS_A_ROW), NUM_BLOCKS - 1, np.int32)
        for i, row in enumerate(self.running):
            padded[i, : len(row.table)] = row.table
        return padded

    def lag(self, row: Row) -> int:
        """As the next step would ask."""
        at = self.running.index(row)
        starts = np.array([r.computed for r in self.running], np.int64)
        return int(self.cache.lag([r.request_id for r in self.running], starts, self.tables())[at])

    def _verify(self, row: Row, accepted: int, chunk: int) -> tuple[int, int]:
        """The target writes a prompt chunk, or the last token and two drafts. Returns (written, of those kept)."""
        start, left = row.computed, len(row.tokens) - row.computed
        count = min(left, chunk) if left > 1 else 3
        kept = count if left > 1 else 1 + accepted
        while len(row.table) * BLOCK_SIZE < start + count:
            row.table.append(self._blocks.fresh())
        if start + kept >= len(row.tokens):
            row.tokens += [next(self._draws) for _ in range(start + kept + 1 - len(row.tokens))]
        for position in range(start, start + count):
            inside = position < start + kept
            self._target[self._slot(row, position)] = tuple(row.tokens[: position + 1]) if inside else object()
        return count, kept

    def _fill(self, lags: NDArray[np.int64], starts: NDArray[np.int64], tables: NDArray[np.int32]) -> None:
        for batch in spans(lags, starts, self._most_tokens):
            for row, start, end in batch:
                self._copy_to_draft(np.full(end - start, row), np.arange(start, end), tables)
                one, count = slice(row, row + 1), np.array([end - start])
                self.cache.mark(np.array([start]), count, tables[one], filled=True)
                self.caught_up += end - start

    def _copy_to_draft(self, rows: NDArray[np.int64], positions: NDArray[np.int64], tables: NDArray[np.int32]) -> None:
        for slot in self.cache.slots(positions, tables[rows]).tolist():
            self._draft[slot] = self._target[slot]

    def _require(self, row: Row, end: int) -> None:
        for position in range(end):
            slot = self._slot(row, position)
            if self._draft.get(slot) != self._target[slot]:
                raise Stale(f"{row.request_id}: position {position}")

    @staticmethod
    def _slot(row: Row, position: int) -> int:
        return row.table[position // BLOCK_SIZE] * BLOCK_SIZE + position % BLOCK_SIZE


def _ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.arange(s, s + n) for s, n in zip(starts.tolist(), counts.tolist(), strict=True)])
