"""Finished runs: read, averaged over their rounds, and held against each other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.arms import ARMS
from benchmarks.serving.loads import LOADS
from loadgen import compare
from loadgen.results import Run, read
from loadgen.summary import group

BASELINE, CHOSEN = "stock_off", "slo_goodput"
MARGIN, BLOCK_S = 0.02, 5.0
MOST_FOREIGN = 0.1  # of the servers' core: a run in which others used more is shown, and run again on resumption


@dataclass(frozen=True)
class Cell:
    """One arm under one load: its valid rounds."""

    arm: str
    runs: list[Run]
    engines: list[dict[str, Any]]

    def figures(self) -> dict[str, Any]:
        """Means over rounds; percentiles of the pooled requests would hide that rounds differ, so they are averaged."""
        every = [group(r.table, np.ones(len(r.table), np.bool_), r.result["wall_s"]) for r in self.runs]
        found: dict[str, Any] = {
            name: _mean([row[name] for row in every])
            for name in ("requests", "goodput_tokens_per_s", "tokens_per_s", "attainment")
        }
        for name in ("tpot_ms", "ttft_ms"):
            found[name] = {q: _mean([row[name][q] for row in every]) for q in ("p50", "p90", "p99")}
        classes = self.runs[0].result["classes"]
        found["by_class"] = {c: _mean([r.result["classes"][c]["attainment"] for r in self.runs]) for c in classes}
        found["tpot_p90_ms"] = {
            c: _mean([r.result["classes"][c]["tpot_ms"]["p90"] for r in self.runs]) for c in classes
        }
        found["tpot_slo_ms"] = {c.name: c.tpot_ms for c in self.runs[0].scenario.classes}
        found["rounds"] = len(self.runs)
        return found | self.speculation()

    def speculation(self) -> dict[str, Any]:
        """From vLLM's counters, and from our engine's where it is ours."""
        counted = [r.result["speculation"] for r in self.runs if r.result["speculation"]]
        drafted = sum(row["drafted_tokens"] for row in counted)
        wasted = sum(row["wasted_draft_tokens"] for row in counted)
        found: dict[str, Any] = {
            "k": _mean([row["k"] for row in counted if row["k"] is not None]),
            "wasted_share": wasted / drafted if drafted else None,
            "server_cpu_s": _mean([e["server_cpu_s"] for e in self.engines]),
            "foreign_share": _mean([e["foreign_share"] for e in self.engines]),
        }
        ours = [(e["before"], e["after"]) for e in self.engines if e["after"] is not None]
        if not ours:
            return found
        steps = sum(after["steps"] - before["steps"] for before, after in ours)
        k_steps = sum((_rise(before["k_steps"], after["k_steps"]) for before, after in ours), Counter[str]())
        wall_s = sum(r.result["wall_s"] for r in self.runs)
        return found | {
            "k_steps": dict(sorted(k_steps.items())),
            "decide_ms": 1e3 * sum(a["decide_s"] - b["decide_s"] for b, a in ours) / max(steps, 1),
            "switches_per_min": 60 * sum(a.get("switches", 0) - b.get("switches", 0) for b, a in ours) / wall_s,
            "fallbacks": sum(sum(a["fallbacks"].values()) - sum(b["fallbacks"].values()) for b, a in ours),
        }


def cells(out: Path) -> dict[str, dict[str, Cell]]:
    """Load -> arm -> its valid rounds, in the loads' and the arms' order; recorded sequences by name."""
    found: dict[str, dict[str, Cell]] = {}
    order = {name: i for i, name in enumerate(LOADS)}
    folders = (p for p in out.iterdir() if p.is_dir())
    for load in sorted(folders, key=lambda p: (order.get(p.name, len(order)), p.name)):
        for arm in ARMS:
            files = sorted((load / arm.name).glob("*/engine.json"))
            runs = [(read(f.parent), json.loads(f.read_text())) for f in files]
            valid = [(run, engine) for run, engine in runs if run.result["valid"]]
            if valid:
                cell = Cell(arm.name, [run for run, _ in valid], [engine for _, engine in valid])
                found.setdefault(load.name, {})[arm.name] = cell
    return found


def ratios(row: Mapping[str, Cell]) -> dict[str, dict[str, Any]]:
    """Arm -> metric -> its ratio to the baseline with an interval."""
    return _paired({name: (cell, row[BASELINE]) for name, cell in row.items() if BASELINE in row and name != BASELINE})


def of_chosen(row: Mapping[str, Cell]) -> dict[str, dict[str, Any]]:
    """Arm -> metric -> the default's ratio to that arm with an interval."""
    return _paired({name: (row[CHOSEN], cell) for name, cell in row.items() if CHOSEN in row and name != CHOSEN})


def _paired(pairs: Mapping[str, tuple[Cell, Cell]]) -> dict[str, dict[str, Any]]:
    """Those that share a round."""
    found = {name: paired_ratio(*pair) for name, pair in pairs.items()}
    return {name: metrics for name, metrics in found.items() if metrics}


def paired_ratio(cell: Cell, base: Cell) -> dict[str, Any]:
    """Metric -> `cell` / `base` with its interval, over the rounds both have; empty where they share none."""
    both = [(a.table, b.table) for a in base.runs for b in cell.runs if a.folder.name == b.folder.name]
    if not both:
        return {}
    verdicts = compare.judge([a for a, _ in both], [b for _, b in both], MARGIN, BLOCK_S, seed=0)
    return {v.metric: {"ratio": v.ratio, "low": v.low, "high": v.high} for v in verdicts}


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _rise(before: Mapping[str, int], after: Mapping[str, int]) -> Counter[str]:
    return Counter({k: n - before.get(k, 0) for k, n in after.items() if n > before.get(k, 0)})
