"""A run as numbers: exact percentiles, attainment, goodput, speculation over time, and whether to believe them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from loadgen import counters
from loadgen.outcome import Outcome
from loadgen.scenario import Scenario
from loadgen.schedule import Schedule
from loadgen.sim.rng import FloatArray
from loadgen.table import BoolArray, Table, table

QUANTILES = (50, 90, 95, 99)
BUCKETS = 60


def summary(schedule: Schedule, outcomes: Sequence[Outcome], samples: Sequence[counters.Sample]) -> dict[str, Any]:
    """Everything a reader needs to judge the run."""
    scenario = schedule.scenario
    rows = table(outcomes, {c.name: c for c in scenario.classes})
    wall_s = max(_planned_s(schedule), _latest(rows.end_s))
    check = self_check(schedule, rows)
    return {
        "scenario": scenario.name,
        "seed": scenario.seed,
        "plan": schedule.text,
        "prompt_factor": schedule.prompt_factor,
        "valid": not check["problems"],
        "check": check,
        "wall_s": wall_s,
        "total": group(rows, np.ones(len(rows), np.bool_), wall_s),
        "classes": {c.name: group(rows, rows.slo_class == c.name, wall_s) for c in scenario.classes},
        "errors": dict(Counter(e for e in rows.error if e is not None)),
        "tokens_counted_by": dict(Counter(o.counted for o in outcomes if o.error is None)),
        "speculation": counters.speculation(samples[0], samples[-1]) if len(samples) > 1 else None,
        "over_time": over_time(rows, samples, scenario),
    }


def group(rows: Table, mine: BoolArray, wall_s: float) -> dict[str, Any]:
    """Figures of the requests `mine`; ms unless the name says otherwise. An error is never attained."""
    ok, attained, tokens = mine & rows.ok, mine & rows.attained, rows.output_tokens
    gaps = [g for g, m in zip(rows.gaps_ms, ok, strict=True) if m and len(g)]
    wait_ms = 1e3 * (rows.sent_s - rows.at_s)
    return {
        "requests": int(mine.sum()),
        "finished": int(ok.sum()),
        "attainment": float(attained.sum() / max(mine.sum(), 1)),
        "goodput_tokens_per_s": float(tokens[attained].sum() / max(wall_s, 1e-9)),
        "tokens_per_s": float(tokens[mine].sum() / max(wall_s, 1e-9)),
        "prompt_tokens": float(np.nan_to_num(np.nanmean(rows.prompt_tokens[ok]))) if ok.any() else 0.0,
        "output_tokens": float(tokens[ok].mean()) if ok.any() else 0.0,
        "ttft_ms": quantiles(rows.ttft_ms[ok]),
        "tpot_ms": quantiles(rows.tpot_ms[ok]),
        "itl_ms": quantiles(np.concatenate(gaps) if gaps else np.zeros(0)),
        "e2e_ms": quantiles(rows.e2e_ms[ok]),
        "ttft_from_send_ms": quantiles((rows.ttft_ms - wait_ms)[ok]),
        "e2e_from_send_ms": quantiles((rows.e2e_ms - wait_ms)[ok]),
    }


def quantiles(values: FloatArray) -> dict[str, float | None]:
    """Exact ones of all finite values."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {f"p{q}": None for q in QUANTILES}
    return {f"p{q}": round(float(v), 4) for q, v in zip(QUANTILES, np.percentile(finite, QUANTILES), strict=True)}


def self_check(schedule: Schedule, rows: Table) -> dict[str, Any]:
    """Did the generator do what it planned? `problems` is empty if so."""
    bounds = schedule.scenario.check
    sent = np.isfinite(rows.sent_s)
    lag = quantiles(1e3 * (rows.sent_s - rows.at_s)[sent])
    rate_error = _rate_error(rows, sent) if schedule.clients is None else 0.0
    problems = []
    if lag["p99"] is not None and lag["p99"] > bounds.send_lag_p99_ms:
        problems.append(f"p99 send lag {lag['p99']:.1f} ms > {bounds.send_lag_p99_ms:g} ms: give the generator a core")
    if rate_error > bounds.rate_error:
        problems.append(f"rate off by {100 * rate_error:.1f} % > {100 * bounds.rate_error:g} %")
    if missing := len(schedule.requests) - int(sent.sum()):
        problems.append(f"{missing} of {len(schedule.requests)} requests were never sent")
    return {"send_lag_ms": lag, "rate_error": rate_error, "problems": problems}


def _rate_error(rows: Table, sent: BoolArray) -> float:
    """Planned and real span of the same requests; too few to have a span have no error."""
    at, real = rows.at_s[sent], rows.sent_s[sent]
    if len(at) < 2 or at[-1] <= at[0]:
        return 0.0
    return float(abs((real.max() - real.min()) / (at[-1] - at[0]) - 1))


def over_time(rows: Table, samples: Sequence[counters.Sample], scenario: Scenario) -> dict[str, list[float | None]]:
    """Server counters and client latencies in the same intervals: the counters' own, else even ones."""
    if len(samples) > 1:
        edges = np.array([s["at_s"] for s in samples])
        found = counters.over_time(samples)
    else:
        edges = np.linspace(0, max(scenario.duration_s, _latest(rows.end_s)), BUCKETS + 1)
        found = {"at_s": ((edges[1:] + edges[:-1]) / 2).tolist()}
    inside = np.searchsorted(edges, rows.at_s, "right") - 1
    ended = np.searchsorted(edges, rows.end_s, "right") - 1
    buckets = range(len(edges) - 1)
    found["arrived"] = [int(np.sum(inside == b)) for b in buckets]
    found["ttft_p50_ms"] = [quantiles(rows.ttft_ms[(inside == b) & rows.ok])["p50"] for b in buckets]
    found["tpot_p50_ms"] = [quantiles(rows.tpot_ms[(ended == b) & rows.ok])["p50"] for b in buckets]
    return found


def _planned_s(schedule: Schedule) -> float:
    """How long requests come: until `duration_s`, but where they were counted or wait for answers, till the last."""
    counted = len(schedule.requests) == schedule.scenario.requests
    return 0.0 if counted or schedule.clients is not None else schedule.scenario.duration_s


def _latest(end_s: FloatArray) -> float:
    return float(np.nanmax(end_s)) if np.isfinite(end_s).any() else 0.0
