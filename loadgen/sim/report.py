"""A finished simulation as numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from loadgen.sim.batch import BoolArray
from loadgen.sim.fleet import Simulation
from loadgen.sim.record import Tally
from loadgen.sim.rng import FloatArray

QUANTILES = (50, 90, 99)


def summary(done: Simulation) -> dict[str, Any]:
    """Everything a reader needs to judge the run; times in seconds unless the name says ms."""
    work, record = done.work, done.record
    makespan_s = float(np.nanmax(record.finish_s)) if (~record.shed).any() else 0.0
    every = np.ones(len(work), np.bool_)
    classes = {c.name: _group(done, work.slo_class == i, makespan_s) for i, c in enumerate(done.scenario.classes)}
    return {
        "scenario": done.scenario.model_dump(mode="json"),
        "makespan_s": makespan_s,
        "total": _group(done, every, makespan_s),
        "classes": classes,
        "speculation": _speculation([r.tally for r in done.replicas], makespan_s, done.replica_s),
        "faults": dict(sum((r.faults for r in done.replicas), Counter())),
        "preemptions": int(record.preempted.sum()),
        "replica_hours": done.replica_s / 3600,
        "over_time": over_time(done),
    }


def _group(done: Simulation, mine: BoolArray, makespan_s: float) -> dict[str, Any]:
    work, record = done.work, done.record
    finished = mine & ~np.isnan(record.finish_s)
    ttft_s = (record.first_s - work.arrival_s)[finished]
    tokens = work.output_tokens[finished]
    tpot_s = (record.finish_s - record.first_s)[finished][tokens > 1] / (tokens[tokens > 1] - 1)
    attained = mine & record.attained
    return {
        "requests": int(mine.sum()),
        "finished": int(finished.sum()),
        "shed": int((mine & record.shed).sum()),
        "attainment": float(attained.sum() / max(mine.sum(), 1)),
        "goodput_tokens_per_s": float(work.output_tokens[attained].sum() / max(makespan_s, 1e-9)),
        "tokens_per_s": float(tokens.sum() / max(makespan_s, 1e-9)),
        "ttft_ms": _quantiles(ttft_s),
        "tpot_ms": _quantiles(tpot_s),
    }


def _quantiles(seconds: FloatArray) -> dict[str, float | None]:
    if len(seconds) == 0:
        return {f"p{q}": None for q in QUANTILES}
    return {
        f"p{q}": round(float(v) * 1e3, 3) for q, v in zip(QUANTILES, np.percentile(seconds, QUANTILES), strict=True)
    }


def _speculation(tallies: list[Tally], makespan_s: float, replica_s: float) -> dict[str, Any]:
    drafted = sum(t.drafted_tokens for t in tallies)
    accepted = sum(t.accepted_tokens for t in tallies)
    verified = sum(t.verified_tokens for t in tallies)
    steps = sum((t.k_steps for t in tallies), Counter[int]())
    count = max(sum(steps.values()), 1)
    return {
        "steps": sum(t.steps for t in tallies),
        "mean_batch": sum(t.request_steps for t in tallies) / count,
        "mean_k": sum(k * n for k, n in steps.items()) / count,
        "k_share": {str(k): steps[k] / count for k in sorted(steps)},
        "switches_per_minute": sum(t.switches for t in tallies) / max(replica_s, makespan_s, 1e-9) * 60,
        "drafted_tokens": drafted,
        "verified_tokens": verified,
        "accepted_tokens": accepted,
        "wasted_draft_tokens": drafted - accepted,
        "accepted_share_of_verified": accepted / max(verified, 1),
        "catch_up_tokens": sum(t.catch_up_tokens for t in tallies),
    }


def over_time(done: Simulation) -> dict[str, list[float]]:
    """Mean K and batch of a busy replica, by time."""
    merged: dict[int, FloatArray] = {}
    for replica in done.replicas:
        for bucket, values in replica.tally.time.items():
            merged[bucket] = merged.get(bucket, np.zeros(3)) + values
    width = done.replicas[0].tally.bucket_s
    rows = [((b + 0.5) * width, v[1] / v[0], v[2] / v[0]) for b, v in sorted(merged.items())]
    at, k, batch = zip(*rows, strict=True) if rows else ((), (), ())
    return {"at_s": list(at), "k": [float(x) for x in k], "batch": [float(x) for x in batch]}
