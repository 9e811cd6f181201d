"""What the worker remembers of each request: its objective, its temperature, when it began to decode."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from policies.api import FloatArray, IntArray

SLO_KEY = "adaspec"
"""`SamplingParams.extra_args['adaspec'] = {'tpot_slo_ms': 40, ...}`"""


@dataclass(slots=True)
class Request:
    tpot_slo_s: float
    temperature: float
    max_tokens: int
    emitted: int = 0
    first_token_at_s: float = 0.0


class RequestTable:
    """Requests by id; `decode_view` gives the arrays of a step's decode requests."""

    def __init__(self) -> None:
        self._requests: dict[str, Request] = {}

    def forget(self, request_ids: Iterable[str]) -> None:
        for request_id in request_ids:
            self._requests.pop(request_id, None)

    def advance(
        self, request_ids: list[str], emitted: IntArray, now_s: float, states: Mapping[str, Any]
    ) -> list[Request]:
        """Count this step's tokens; requests not seen before are read from vLLM's states."""
        known = self._requests
        rows = []
        for request_id, tokens in zip(request_ids, emitted.tolist(), strict=True):
            request = known.get(request_id)
            if request is None:
                request = known[request_id] = _read(states[request_id], now_s)
            request.emitted += tokens
            rows.append(request)
        return rows


def columns(rows: list[Request], now_s: float) -> tuple[FloatArray, FloatArray, FloatArray, IntArray, IntArray]:
    """(elapsed decode seconds, TPOT objectives in seconds, temperatures, emitted tokens, tokens still wanted), [B]."""
    table = np.array(
        [(now_s - r.first_token_at_s, r.tpot_slo_s, r.temperature, r.emitted, r.max_tokens - r.emitted) for r in rows],
        np.float64,
    ).reshape(-1, 5)
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(np.int64), table[:, 4].astype(np.int64)


def _read(state: Any, now_s: float) -> Request:
    params = state.sampling_params
    slo = ((params.extra_args or {}).get(SLO_KEY) or {}).get("tpot_slo_ms")
    return Request(
        tpot_slo_s=math.inf if slo is None else float(slo) / 1e3,
        temperature=float(params.temperature),
        max_tokens=params.max_tokens if params.max_tokens is not None else 1 << 30,
        emitted=len(state.output_token_ids),
        first_token_at_s=now_s,
    )
