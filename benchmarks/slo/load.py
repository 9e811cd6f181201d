"""Requests on a schedule fixed beforehand, and what became of each by the client's own clock."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.slo.fleet import Fleet
from deployments.calls import Call, Head, answer

OK = 200
LAST = re.compile(rb'"adaspec": (\{.*?\})')


@dataclass(frozen=True, slots=True)
class Planned:
    """One request to come."""

    at_s: float
    of: str
    tokens: int
    prompt: str


@dataclass(slots=True)
class Seen:
    """What a client saw of it."""

    planned: Planned
    status: int = 0
    ttft_s: float = float("inf")
    tpot_s: float = float("inf")
    done: bool = False  # a complete answer, or a complete refusal
    retry_after_s: int | None = None
    told: dict[str, Any] = field(default_factory=dict)


def poisson(
    rng: np.random.Generator, until_s: float, rates: dict[str, float], tokens: tuple[int, int], start_s: float = 0.0
) -> list[Planned]:
    """Each class at its rate from `start_s`; answers of lognormal length (median, most)."""
    plan = []
    for of, rps in rates.items():
        at_s = start_s
        while rps and (at_s := at_s + rng.exponential(1 / rps)) < until_s:
            length = int(np.clip(rng.lognormal(np.log(tokens[0]), 0.6), 4, tokens[1]))
            plan.append(Planned(at_s, of, length, f"{rng.integers(1 << 30)} " * 20))
    return sorted(plan, key=lambda planned: planned.at_s)


async def play(fleet: Fleet, plan: Sequence[Planned]) -> list[Seen]:
    """Open loop: every request at its time, whatever became of the others."""
    loop, tasks = asyncio.get_running_loop(), []
    began_s = loop.time()
    for planned in plan:
        await asyncio.sleep(max(0.0, began_s + planned.at_s - loop.time()))
        tasks.append(asyncio.create_task(send(fleet, planned)))
    return list(await asyncio.gather(*tasks))


async def send(fleet: Fleet, planned: Planned) -> Seen:
    """One streamed completion."""
    loop, seen = asyncio.get_running_loop(), Seen(planned)
    sent_s = last_s = loop.time()
    body = {"prompt": planned.prompt, "max_tokens": planned.tokens, "stream": True}
    headers = ((b"content-type", b"application/json"), (b"x-slo-class", planned.of.encode()))
    call = Call("POST", "/v1/completions", headers, json.dumps(body).encode())
    text = b""
    async for part in answer(fleet.app, call):
        if isinstance(part, Head):
            seen.status, seen.ttft_s = part.status, loop.time() - sent_s
            retry = dict(part.headers).get(b"retry-after")
            seen.retry_after_s = None if retry is None else int(retry)
        text = (text + (part.body if isinstance(part, Head) else part))[-4096:]
        last_s = loop.time() if b'"text"' in (part.body if isinstance(part, Head) else part) else last_s
    seen.tpot_s = (last_s - sent_s - seen.ttft_s) / max(planned.tokens - 1, 1)
    told = LAST.search(text)
    seen.told = json.loads(told[1]) if told else {}
    seen.done = text.endswith(b"[DONE]\n\n") if seen.status == OK else bool(text)
    return seen


def attained(seen: Seen, classes: Sequence[dict[str, Any]]) -> bool:
    """By the client's clock."""
    of = next(c for c in classes if c["name"] == seen.planned.of)
    limits = (of.get("ttft_ms"), seen.ttft_s), (of.get("tpot_ms"), seen.tpot_s)
    return seen.status == OK and seen.done and all(ms is None or s <= ms / 1e3 for ms, s in limits)


def summary(seen: Sequence[Seen], classes: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By class."""
    return {of["name"]: _summary([s for s in seen if s.planned.of == of["name"]], classes) for of in classes}


def _summary(seen: list[Seen], classes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    served = [s for s in seen if s.status == OK]
    shed = [s for s in seen if s.status != OK]
    met = sum(attained(s, classes) for s in seen)
    return {
        "requests": len(seen),
        "served": len(served),
        "lost": sum(not s.done for s in seen),
        "refused": len(shed),
        "refused_without_retry_after": sum(s.retry_after_s is None for s in shed),
        "attainment_of_served": round(met / len(served), 4) if served else None,
        "attainment_of_all": round(met / len(seen), 4) if seen else None,
        "ttft_ms": _quantiles([1e3 * s.ttft_s for s in served]),
        "tpot_ms": _quantiles([1e3 * s.tpot_s for s in served]),
    }


def _quantiles(values: list[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(values, q)), 2) for q in (50, 95, 99)} if values else {}
