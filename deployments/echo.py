"""What was promised and what was achieved, added to the answer: `usage.adaspec`, or `adaspec` in a stream's last event.

The engine is always asked for usage, so a stream that did not ask for it gets one event fewer than the engine sent.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

from deployments.door_metrics import DoorMetrics
from deployments.observe.outcomes import Outcome
from deployments.settings import SloClass

KEY = "adaspec"
FINISH = re.compile(rb'"finish_reason":\s*"')
USAGE = re.compile(rb'"usage":\s*\{')
DONE = b"data: [DONE]"


class Echo:
    """One request, from its arrival on."""

    def __init__(self, slo: SloClass, metrics: DoorMetrics, choices: int, *, usage_wanted: bool) -> None:
        self._slo, self._metrics, self._choices, self._usage_wanted = slo, metrics, choices, usage_wanted
        self._arrived_s = self._sent_s = _now_s()
        self._first_s: float | None = None
        self._last_s = 0.0
        self._accounted = False

    def sent(self) -> None:
        """It leaves the door for a replica."""
        self._sent_s = _now_s()

    def whole(self, body: bytes) -> bytes:
        """A complete answer. The engine's own times are the only ones of the tokens in it."""
        answer = json.loads(body)
        times = answer.get("metrics") or {}
        ttft_ms, tpot_ms = times.get("time_to_first_token_ms"), times.get("mean_itl_ms")
        if ttft_ms is not None:
            ttft_ms += 1e3 * (self._sent_s - self._arrived_s)
        answer["usage"] = {**(answer.get("usage") or {}), KEY: self._achieved(answer, ttft_ms, tpot_ms)}
        return json.dumps(answer).encode()

    async def stream(self, first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The events as they come; the one that says the answer is finished waits for the usage behind it."""
        held = b""
        async for event in _events(first, rest):
            self._came()
            if USAGE.search(event) and b'"choices":[]' in event.replace(b" ", b""):
                yield self._last(held, event)
                held = b""
                continue
            if held:
                yield held
                held = b""
            if FINISH.search(event) and event.startswith(b"data: "):
                held = event
            else:
                yield event
        if held:
            yield held
        if not self._accounted:
            self._metrics.finished(self._slo.name, attained=False)  # it ended without saying what it used
            self._metrics.outcomes.broken(self._slo.name, _now_s() - self._arrived_s)

    def _came(self) -> None:
        self._last_s = _now_s()
        if self._first_s is None:
            self._first_s = self._last_s

    def _last(self, finish: bytes, usage: bytes) -> bytes:
        """The end of the stream: the finish event, and the usage event where the client asked for one."""
        counted = json.loads(usage.removeprefix(b"data: "))
        achieved = self._achieved(counted, *self._measured(counted["usage"]))
        self._accounted = True
        if self._usage_wanted:
            counted["usage"][KEY] = achieved
            return finish + _event(counted)
        if not finish:
            return b""
        return _event({**json.loads(finish.removeprefix(b"data: ")), KEY: achieved})

    def _measured(self, usage: dict[str, Any]) -> tuple[float | None, float | None]:
        if self._first_s is None:
            return None, None
        gaps = (usage.get("completion_tokens") or 0) / self._choices - 1
        tpot_ms = 1e3 * (self._last_s - self._first_s) / gaps if gaps > 0 else None
        return 1e3 * (self._first_s - self._arrived_s), tpot_ms

    def _achieved(self, answer: dict[str, Any], ttft_ms: float | None, tpot_ms: float | None) -> dict[str, Any]:
        slo = self._slo
        drafts = (answer.get("metrics") or {}).get("speculative_decoding") or {}
        outcome = Outcome(
            slo.name,
            ttft_s=None if ttft_ms is None else ttft_ms / 1e3,
            tpot_s=None if tpot_ms is None else tpot_ms / 1e3,
            duration_s=_now_s() - self._arrived_s,
            output_tokens=(answer.get("usage") or {}).get("completion_tokens") or 0,
            ttft_attained=_within(ttft_ms, slo.ttft_ms),
            tpot_attained=_within(tpot_ms, slo.tpot_ms, absent=ttft_ms is not None),
        )
        attained = outcome.attained
        self._metrics.finished(slo.name, attained=attained)
        self._metrics.outcomes.finished(outcome)
        return {
            "slo_class": slo.name,
            "ttft_slo_ms": slo.ttft_ms,
            "tpot_slo_ms": slo.tpot_ms,
            "ttft_ms": _rounded(ttft_ms),
            "tpot_ms": _rounded(tpot_ms),
            "waited_ms": _rounded(1e3 * (self._sent_s - self._arrived_s)),
            "attained": attained,
            "drafted_tokens": drafts.get("num_draft_tokens"),
            "accepted_tokens": drafts.get("num_accepted_draft_tokens"),
        }


def _within(ms: float | None, slo_ms: float | None, *, absent: bool = False) -> bool:
    """`absent`: a figure that does not exist (the TPOT of one token) keeps its objective; an unknown one does not."""
    return slo_ms is None or (absent if ms is None else ms <= slo_ms)


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 3)


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


async def _events(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Whole events. A part may hold several, or an event be cut."""
    kept = b""
    async for part in _chain(first, rest):
        *whole, kept = (kept + part).split(b"\n\n")
        for event in whole:
            yield event + b"\n\n"
    if kept:
        yield kept


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in rest:
        yield part


def _now_s() -> float:
    return asyncio.get_running_loop().time()
