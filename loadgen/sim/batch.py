"""A replica's decode requests as dense arrays, and the texts they are writing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loadgen.sim.rng import FloatArray
from loadgen.sim.workload import IntArray, Texts, Workload

BoolArray = NDArray[np.bool_]
CONTEXT, EMITTED, OUTPUT, LAG, FRESH, REQUEST, ROW = range(7)


class Batch:
    """Decode requests in order of joining. Properties are views: copy what must not change under a reader."""

    def __init__(self, work: Workload, seats: int) -> None:
        self._work = work
        self._ints = np.zeros((7, seats), np.int64)
        self._first_s = np.zeros(seats)
        self._free = list(range(seats))
        self.n = 0
        self._renamed()

    def _renamed(self) -> None:
        requests = self._ints[REQUEST, : self.n]
        self.request_ids = tuple(map(str, requests.tolist()))
        self.tpot_slo_s = self._work.tpot_slo_s[requests]
        self.temperature = np.zeros(self.n)

    @property
    def context(self) -> IntArray:
        return self._ints[CONTEXT, : self.n]

    @property
    def emitted(self) -> IntArray:
        return self._ints[EMITTED, : self.n]

    @property
    def output(self) -> IntArray:
        return self._ints[OUTPUT, : self.n]

    @property
    def lag(self) -> IntArray:
        return self._ints[LAG, : self.n]

    @property
    def fresh(self) -> IntArray:
        """Prompt tokens computed in the step just done: a draft that runs now takes them along."""
        return self._ints[FRESH, : self.n]

    @property
    def request(self) -> IntArray:
        return self._ints[REQUEST, : self.n]

    @property
    def row(self) -> IntArray:
        return self._ints[ROW, : self.n]

    @property
    def first_s(self) -> FloatArray:
        return self._first_s[: self.n]

    def join(self, request: int, context: int, emitted: int, lag: int, fresh: int, first_s: float) -> None:
        row = self._free.pop()
        output = self._work.output_tokens[request]
        self._ints[:, self.n] = (context, emitted, output, lag, fresh, request, row)
        self._first_s[self.n] = first_s
        self.n += 1

    def joined(self) -> None:
        """Call once after any number of `join`s."""
        self._renamed()

    def keep(self, mask: BoolArray) -> None:
        """Drop the rest."""
        self._free.extend(self.row[~mask].tolist())
        left = self._ints[:, : self.n][:, mask]
        first_s = self.first_s[mask]
        self.n = left.shape[1]
        self._ints[:, : self.n] = left
        self._first_s[: self.n] = first_s
        self._renamed()


class Streams:
    """Per seat: accepted runs, true probabilities and confidences by output position, filled when first drafted."""

    def __init__(self, texts: Texts, seats: int, longest: int, k_max: int) -> None:
        self._texts, self._longest, self._k_max = texts, longest, k_max
        self._holder = np.full(seats, -1)
        self._run = np.zeros((seats, longest + k_max), np.int16)
        self._true = np.zeros((seats, longest + k_max), np.float32)
        self._top1 = np.zeros((seats, longest + k_max), np.float32)

    def fill(self, batch: Batch) -> None:
        """Make sure every request of the batch has its text."""
        for i in np.flatnonzero(self._holder[batch.row] != batch.request):
            row, request = batch.row[i], int(batch.request[i])
            run, true, top1 = self._texts.draw(request)
            n = len(run)
            self._run[row, :n], self._true[row, :n], self._top1[row, :n] = run, true, top1
            self._true[row, n : n + self._k_max] = self._top1[row, n : n + self._k_max] = 0.5
            self._holder[row] = request

    def run(self, row: IntArray, position: IntArray) -> IntArray:
        """[B] draft tokens in a row the target would accept from `position` on."""
        return self._run[row, position].astype(np.int64)

    def top1(self, row: IntArray, position: IntArray, k: int) -> FloatArray:
        """As [B, k]."""
        return self._top1[row[:, None], position[:, None] + np.arange(k)].astype(np.float64)

    def true(self, row: IntArray, position: IntArray, k: int) -> FloatArray:
        """As [B, k]."""
        return self._true[row[:, None], position[:, None] + np.arange(k)].astype(np.float64)
