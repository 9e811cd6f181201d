"""What the worker remembers of each request: its objective, its temperature, when it began to decode."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from policies.api import FloatArray, IntArray

log = logging.getLogger(__name__)

SLO_KEY = "adaspec_tpot_slo_ms"
"""`SamplingParams.extra_args['adaspec_tpot_slo_ms'] = 40`; over plain vLLM's HTTP: `"vllm_xargs": {...}`."""


@dataclass(slots=True)
class Request:
    """One request from its first token on."""

    tpot_slo_s: float
    temperature: float
    max_tokens: int
    emitted: int = 0
    first_token_at_s: float = 0.0


class RequestTable:
    """Requests by id: `advance` gives the rows of a step's decode requests, `columns` their arrays."""

    def __init__(self, fallbacks: Counter[str]) -> None:
        self._requests: dict[str, Request] = {}
        self._fallbacks = fallbacks

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
                request = known[request_id] = self._read(states[request_id], now_s)
            request.emitted += tokens
            rows.append(request)
        return rows

    def _read(self, state: Any, now_s: float) -> Request:
        params = state.sampling_params
        return Request(
            tpot_slo_s=self._objective_s(params.extra_args or {}),
            temperature=float(params.temperature),
            max_tokens=_draft_until(params),
            emitted=len(state.output_token_ids),
            first_token_at_s=now_s,
        )

    def _objective_s(self, extra_args: Mapping[str, Any]) -> float:
        """A client wrote this: what cannot be read is counted, and the request served without an objective."""
        given = extra_args.get(SLO_KEY)
        if given is None:
            return math.inf
        if isinstance(given, int | float) and given > 0:
            return given / 1e3
        if not self._fallbacks["objective_unread"]:
            log.warning("adaspec: extra_args[%r]: %r ignored; give a number of milliseconds > 0", SLO_KEY, given)
        self._fallbacks["objective_unread"] += 1
        return math.inf


def _draft_until(params: Any) -> int:
    """Output tokens up to which drafts are of use.

    A seeded sample is not drafted for: how many random numbers a verify draws depends on K, and K on the load, so the
    same seed would not give the same text twice.
    """
    if params.seed is not None and params.temperature > 0:
        return 0
    return params.max_tokens if params.max_tokens is not None else 1 << 30


def columns(rows: list[Request], now_s: float) -> tuple[FloatArray, FloatArray, FloatArray, IntArray, IntArray]:
    """(elapsed decode seconds, TPOT objectives in seconds, temperatures, emitted tokens, tokens still wanted), [B]."""
    table = np.array(
        [(now_s - r.first_token_at_s, r.tpot_slo_s, r.temperature, r.emitted, r.max_tokens - r.emitted) for r in rows],
        np.float64,
    ).reshape(-1, 5)
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(np.int64), table[:, 4].astype(np.int64)
