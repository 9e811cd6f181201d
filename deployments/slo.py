"""What a request asks for by header, and how the engine is told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from deployments.engine.requests import SLO_KEY
from deployments.errors import ApiError
from deployments.settings import MOST_MS, IngressConfig, SloClass
from policies.fleet.views import RequestView

CLASS, TTFT, TPOT = "x-slo-class", "x-slo-ttft-ms", "x-slo-tpot-ms"


def chosen(headers: Mapping[str, str], config: IngressConfig) -> SloClass:
    """The request's class, with the objectives its headers set instead of the class's.

    Raises:
        ApiError: 400 naming the header, its value and what it may be.
    """
    name = headers.get(CLASS, config.default_class)
    of = next((c for c in config.classes if c.name == name), None)
    if of is None:
        known = ", ".join(c.name for c in config.classes)
        raise ApiError(400, f"{CLASS}: {name[:64]!r} is no class of this server; choose one of {known}", param=CLASS)
    given = {"ttft_ms": _milliseconds(headers, TTFT), "tpot_ms": _milliseconds(headers, TPOT)}
    return of.model_copy(update={field: ms for field, ms in given.items() if ms is not None})


def for_engine(body: Mapping[str, Any], slo: SloClass) -> dict[str, Any]:
    """The body as vLLM gets it: our priority (there the lowest goes first), the TPOT objective, usage in any case."""
    told: dict[str, Any] = {**body, "priority": -slo.priority}
    if slo.tpot_ms is not None:
        told["vllm_xargs"] = {**(body.get("vllm_xargs") or {}), SLO_KEY: slo.tpot_ms}
    if body.get("stream"):
        told["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    return told


def request_view(slo: SloClass, prompt_tokens: float) -> RequestView:
    """The request as fleet decisions see it on arrival."""
    return RequestView(
        prompt_tokens=round(prompt_tokens),
        ttft_slo_s=seconds(slo.ttft_ms),
        tpot_slo_s=seconds(slo.tpot_ms),
        priority=slo.priority,
        overload=slo.overload,
    )


def seconds(ms: float | None) -> float:
    """No objective is an infinite one."""
    return math.inf if ms is None else ms / 1e3


def _milliseconds(headers: Mapping[str, str], name: str) -> float | None:
    given = headers.get(name)
    if given is None:
        return None
    try:
        ms = float(given)
    except ValueError:
        ms = math.nan
    if 0 < ms <= MOST_MS:
        return ms
    fix = f"give milliseconds, more than 0 and at most {MOST_MS:.0f}"
    raise ApiError(400, f"{name}: {given[:64]!r} refused: {fix}", param=name)
