"""A server's own counters over time: K and acceptance, from whatever exposes vLLM's metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

COUNTERS = (
    "generation_tokens_total",
    "prompt_tokens_total",
    "spec_decode_num_draft_tokens_total",
    "spec_decode_num_accepted_tokens_total",
    "iteration_tokens_total_count",
    "num_preemptions_total",
)
GAUGES = ("num_requests_running", "num_requests_waiting")
Sample = dict[str, float]


def sample(exposition: bytes, at_s: float) -> Sample:
    """The known families, summed over labels; the prefixes `vllm:` and Ray's `ray_vllm_` are dropped."""
    found = {"at_s": at_s}
    for line in exposition.splitlines():
        if line[:4] not in {b"vllm", b"ray_"}:
            continue
        head, _, value = line.decode().rpartition(" ")
        name = head.split("{", 1)[0].removeprefix("ray_")[5:]
        if name in COUNTERS or name in GAUGES:
            found[name] = found.get(name, 0.0) + float(value)
    return found


def over_time(samples: Sequence[Sample]) -> dict[str, list[float | None]]:
    """Between neighbouring samples: mean K of a request's step, accepted share of drafted tokens, tokens/s, batch.

    A request's step yields what was accepted and one token more, so its number of steps is generated - accepted.
    """
    rows: list[dict[str, float | None]] = []
    for old, new in pairwise(samples):
        rows.append({"at_s": (old["at_s"] + new["at_s"]) / 2, **speculation(old, new)})
        rows[-1]["running"], rows[-1]["waiting"] = (new.get(name) for name in GAUGES)
    names = rows[0] if rows else {}
    return {name: [row[name] for row in rows] for name in names}


def speculation(old: Sample, new: Sample) -> dict[str, Any]:
    """Of the time between two samples; None where nothing was drafted or generated."""
    drafted, accepted, generated = (
        _rise(old, new, name)
        for name in (
            "spec_decode_num_draft_tokens_total",
            "spec_decode_num_accepted_tokens_total",
            "generation_tokens_total",
        )
    )
    steps = generated - accepted
    return {
        "k": drafted / steps if steps > 0 else None,
        "accepted_share": accepted / drafted if drafted > 0 else None,
        "tokens_per_s": generated / max(new["at_s"] - old["at_s"], 1e-9),
        "drafted_tokens": drafted,
        "wasted_draft_tokens": drafted - accepted,
    }


def _rise(old: Mapping[str, float], new: Mapping[str, float], name: str) -> float:
    """A counter that fell was restarted from 0."""
    before, after = old.get(name, 0.0), new.get(name, 0.0)
    return after - before if after >= before else after
