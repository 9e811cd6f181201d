"""Outcomes as columns: what is computed from a request's times is computed here, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.outcome import Outcome
from loadgen.parts import SloClass
from loadgen.sim.rng import FloatArray

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Table:
    """[n] columns in order of id; nan where a request never came so far. Latencies count from the intended start."""

    id: NDArray[np.int64]
    slo_class: NDArray[np.str_]
    at_s: FloatArray
    sent_s: FloatArray
    first_s: FloatArray
    end_s: FloatArray
    ttft_ms: FloatArray
    tpot_ms: FloatArray  # nan for an answer of one token
    e2e_ms: FloatArray
    prompt_tokens: FloatArray
    output_tokens: NDArray[np.int64]
    ok: BoolArray
    attained: BoolArray
    error: tuple[str | None, ...]
    gaps_ms: tuple[FloatArray, ...]  # ITL: between neighbouring pieces; a piece may hold several tokens

    def __len__(self) -> int:
        return len(self.id)


def table(outcomes: Sequence[Outcome], classes: Mapping[str, SloClass]) -> Table:
    """The columns of `outcomes`."""
    rows = sorted(outcomes, key=lambda o: o.id)
    at, sent, first, end = (_column(rows, name) for name in ("at_s", "sent_s", "first_s", "end_s"))
    last = np.array([o.chunks_s[-1] if o.chunks_s else np.nan for o in rows])
    ok = np.array([o.error is None for o in rows], np.bool_)
    first = np.where(ok & np.isnan(first), end, first)  # an answer without text is known by its end
    tokens = np.array([o.output_tokens for o in rows], np.int64)
    tpot = np.where(tokens > 1, 1e3 * (last - first) / np.maximum(tokens - 1, 1), np.nan)
    ttft = 1e3 * (first - at)
    limits = np.array([(classes[o.slo_class].ttft_ms, classes[o.slo_class].tpot_ms) for o in rows]).reshape(-1, 2)
    attained = ok & (ttft <= limits[:, 0]) & (np.nan_to_num(tpot) <= limits[:, 1])
    return Table(
        id=np.array([o.id for o in rows], np.int64),
        slo_class=np.array([o.slo_class for o in rows], np.str_),
        at_s=at,
        sent_s=sent,
        first_s=first,
        end_s=end,
        ttft_ms=ttft,
        tpot_ms=tpot,
        e2e_ms=np.where(ok, 1e3 * (end - at), np.nan),
        prompt_tokens=_column(rows, "prompt_tokens"),
        output_tokens=tokens,
        ok=ok,
        attained=attained,
        error=tuple(o.error for o in rows),
        gaps_ms=tuple(1e3 * np.diff(o.chunks_s) for o in rows),
    )


def _column(rows: Sequence[Outcome], name: str) -> FloatArray:
    return np.array([np.nan if (value := getattr(o, name)) is None else value for o in rows], np.float64)
