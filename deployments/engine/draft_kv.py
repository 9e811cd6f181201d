"""Which slots of the KV cache hold the draft's keys and values.

A step at K = 0 does not run the draft, so the tokens it commits leave holes in the draft's cache. Holes are kept by
cache slot, not by request: prefix caching hands a block written at K = 0 to another request.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from policies.api import IntArray


class DraftCache:
    """Slots are numbered block * block_size + offset; `tables` [rows, blocks] are vLLM's block tables."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self._filled = np.zeros(num_blocks * block_size, np.bool_)
        self._block_size = block_size
        self._prefix: dict[str, int] = {}  # request -> leading positions known to be filled

    def forget(self, request_ids: Iterable[str]) -> None:
        """Finished, preempted or resumed: their blocks may have changed."""
        for request_id in request_ids:
            self._prefix.pop(request_id, None)

    def lag(self, request_ids: list[str], starts: IntArray, tables: NDArray[np.int32]) -> IntArray:
        """[rows] positions before `starts` from the first hole on: what a catch-up must compute."""
        prefix = self._prefix
        known = [prefix.get(r, -1) for r in request_ids]
        for row, length in enumerate(known):
            if length < 0:
                known[row] = prefix[request_ids[row]] = self._scan(int(starts[row]), tables[row])
        return np.maximum(starts - np.asarray(known, np.int64), 0)

    def mark(self, starts: IntArray, counts: IntArray, tables: NDArray[np.int32], *, filled: bool) -> None:
        """The target wrote `counts` [rows] positions from `starts` [rows]; the draft did too, or did not."""
        if counts.sum() == len(counts):  # one each: the usual step at K = 0
            self._filled[self.slots(starts, tables)] = filled
            return
        rows = np.repeat(np.arange(len(counts)), counts)
        offsets = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        self._filled[self.slots(starts[rows] + offsets, tables[rows])] = filled

    def extend(self, request_ids: list[str], ends: IntArray) -> None:
        """The draft's cache is now whole up to `ends` [rows]."""
        self._prefix.update(zip(request_ids, ends.tolist(), strict=True))

    def slots(self, positions: IntArray, tables: NDArray[np.int32]) -> IntArray:
        """[n] cache slots of `positions` [n], each in its own table row [n, blocks]."""
        blocks = tables[np.arange(len(positions)), positions // self._block_size].astype(np.int64)
        slots: IntArray = blocks * self._block_size + positions % self._block_size
        return slots

    def _scan(self, end: int, table: NDArray[np.int32]) -> int:
        positions = np.arange(end)
        slots = table[positions // self._block_size].astype(np.int64) * self._block_size + positions % self._block_size
        holes = np.flatnonzero(~self._filled[slots])
        return int(holes[0]) if len(holes) else end


def spans(lags: IntArray, starts: IntArray, most_tokens: int) -> list[list[tuple[int, int, int]]]:
    """The missing positions as (row, from, to), in passes of at most `most_tokens`; a row's spans come in order."""
    passes: list[list[tuple[int, int, int]]] = [[]]
    room = most_tokens
    for row in np.flatnonzero(lags > 0).tolist():
        at, end = int(starts[row] - lags[row]), int(starts[row])
        while at < end:
            if room == 0:
                passes.append([])
                room = most_tokens
            to = min(end, at + room)
            passes[-1].append((row, at, to))
            room -= to - at
            at = to
    return [p for p in passes if p]
