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


@dataclass(frozen=True, slots=True)
class Request:
    """One request from its first token on."""

    tpot_slo_s: float
    temperature: float
    max_tokens: int  # output tokens up to which drafts are of use
    first_token_at_s: float


@dataclass(frozen=True, slots=True)
class Columns:
    """Requests as arrays [B]. Read-only: they are the same arrays step after step."""

    tpot_slo_s: FloatArray
    temperature: FloatArray
    max_tokens: IntArray
    first_token_at_s: FloatArray


class RequestTable:
    """Requests by id; `columns` makes arrays of a step's decode requests and keeps them while those stay the same."""

    def __init__(self, fallbacks: Counter[str]) -> None:
        self._requests: dict[str, Request] = {}
        self._fallbacks = fallbacks
        self._request_ids: list[str] | None = None
        self._columns: Columns

    def forget(self, request_ids: Iterable[str]) -> None:
        for request_id in request_ids:
            self._request_ids = None  # the id may come again as another request
            self._requests.pop(request_id, None)

    def columns(self, request_ids: list[str], now_s: float, states: Mapping[str, Any]) -> Columns:
        """Requests not seen before are read from vLLM's states: their first token came at `now_s`."""
        if request_ids != self._request_ids:
            self._columns = _columns([self._request(r, now_s, states) for r in request_ids])
            self._request_ids = request_ids
        return self._columns

    def _request(self, request_id: str, now_s: float, states: Mapping[str, Any]) -> Request:
        known = self._requests.get(request_id)
        if known is None:
            params = states[request_id].sampling_params
            slo_s = self._objective_s(params.extra_args or {})
            known = Request(slo_s, float(params.temperature), _draft_until(params), now_s)
            self._requests[request_id] = known
        return known

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


def _columns(rows: list[Request]) -> Columns:
    columns = Columns(
        np.array([r.tpot_slo_s for r in rows], np.float64),
        np.array([r.temperature for r in rows], np.float64),
        np.array([r.max_tokens for r in rows], np.int64),
        np.array([r.first_token_at_s for r in rows], np.float64),
    )
    for column in (columns.tpot_slo_s, columns.temperature, columns.max_tokens, columns.first_token_at_s):
        column.flags.writeable = False
    return columns
