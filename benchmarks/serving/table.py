"""Finished runs as one table, one picture and one file of numbers."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure

from benchmarks.serving.arms import ARMS
from benchmarks.serving.loads import LOADS
from loadgen import compare
from loadgen.results import Run, read
from loadgen.summary import group

BASELINE, CHOSEN = "stock_off", "slo_goodput"
MARGIN, BLOCK_S = 0.02, 5.0
INTERVAL = "{ratio:.2f} [{low:.2f}, {high:.2f}]"
AGAINST = ("goodput", "attainment", "TPOT p90", "TTFT p90")
MOST_FOREIGN = 0.1  # of the servers' core: a run in which others used more is shown, and run again on resumption
DEFAULT, OTHERS = "#d9713c", colormaps["viridis"]
CAPTION = (
    "two CPU cores, one for the server and one for the generator, grown {size} target; "
    "{window:g}-s windows of the same seeded requests; "
    "in brackets a 95 % block bootstrap over 5-s blocks"
)


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


def write(out: Path, origin: dict[str, Any]) -> None:
    """README.md, goodput.svg, summary.json and provenance.json of all runs in `out`."""
    found = cells(out)
    numbers = {load: {a: c.figures() for a, c in row.items()} for load, row in found.items()}
    compared = {load: ratios(row) for load, row in found.items()}
    chosen = {load: of_chosen(row) for load, row in found.items()}
    summary = {"figures": numbers, "ratios_to_" + BASELINE: compared, f"ratios_of_{CHOSEN}": chosen}
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (out / "provenance.json").write_text(json.dumps(origin, indent=1) + "\n")
    config = origin["config"]
    caption = CAPTION.format(size=config["size"], window=config["window_s"])
    against = "".join(_against(chosen, metric) for metric in AGAINST)
    (out / "README.md").write_text(_readme(numbers, compared, caption) + against)
    if any(compared.values()):
        with rc_context({"svg.hashsalt": "goodput"}):  # the same runs give the same file
            picture(compared, caption).savefig(out / "goodput.svg", metadata={"Date": None})


def _readme(numbers: dict[str, dict[str, Any]], compared: dict[str, Any], caption: str) -> str:
    head = (
        "| load | arm | rounds | goodput tok/s | to stock off | attained | tok/s | TPOT p50/p90/p99 ms "
        "| TTFT p50/p90/p99 ms | mean K | wasted | decide ms | switches/min | core used by others |\n"
        + "|---" * 14
        + "|\n"
    )
    rows = [
        _row(load, arm, figures, compared[load].get(arm))
        for load, row in numbers.items()
        for arm, figures in row.items()
    ]
    made = "Made by `python -m benchmarks.serving`; raw runs are in the folders beside this file.\n"
    whole = f"# Stock vLLM and our engine, same HTTP server\n\n{caption}.\n\n{made}\n{head}{''.join(rows)}"
    return f"{whole}\n## By class\n\n{_by_class(numbers)}"


def _against(chosen: Mapping[str, Mapping[str, Any]], metric: str) -> str:
    """The default's figure to every other arm's, over the rounds both have."""
    loads = [load for load, row in chosen.items() if row]
    arms = [arm.name for arm in ARMS if any(arm.name in chosen[load] for load in loads)]
    if not arms:
        return ""
    head = f"\n## {metric[0].upper()}{metric[1:]} of `{CHOSEN}` to every other arm's\n\n| arm | {' | '.join(loads)} |\n"
    lines = [head + "|---" * (len(loads) + 1) + "|"]
    for arm in arms:
        found = [chosen[load].get(arm) for load in loads]
        shown = ["-" if row is None else INTERVAL.format(**row[metric]) for row in found]
        lines.append("| " + " | ".join([arm, *shown]) + " |")
    return "\n".join(lines) + "\n"


def _by_class(numbers: dict[str, dict[str, Any]]) -> str:
    """Attained share, and P90 TPOT beside its objective, of each class."""
    every = [figures for row in numbers.values() for figures in row.values()]
    if not every:
        return ""
    slo_ms = every[0]["tpot_slo_ms"]
    titles = ["load", "arm", *(f"{c}: attained, TPOT p90 ms (objective {_figure(ms)})" for c, ms in slo_ms.items())]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for load, row in numbers.items():
        for arm, f in row.items():
            shown = [f"{_percent(f['by_class'][c])}, {_figure(f['tpot_p90_ms'][c])}" for c in slo_ms]
            lines.append("| " + " | ".join([load, arm, *shown]) + " |")
    return "\n".join(lines) + "\n"


def _row(load: str, arm: str, f: dict[str, Any], ratio: dict[str, Any] | None) -> str:
    times = [" / ".join(_figure(f[name][q]) for q in ("p50", "p90", "p99")) for name in ("tpot_ms", "ttft_ms")]
    goodput = "1" if ratio is None else INTERVAL.format(**ratio["goodput"])
    wasted = _percent(f["wasted_share"])
    own = [_figure(f.get(name)) for name in ("decide_ms", "switches_per_min")]
    own.append(_percent(f["foreign_share"]))
    shown = [_figure(f["goodput_tokens_per_s"]), goodput, _percent(f["attainment"]), _figure(f["tokens_per_s"])]
    return "| " + " | ".join([load, arm, str(f["rounds"]), *shown, *times, _figure(f["k"]), wasted, *own]) + " |\n"


def picture(compared: Mapping[str, Mapping[str, Any]], caption: str) -> Figure:
    """Goodput to the baseline's over the rounds both have, by load and arm, with intervals."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axis = figure.subplots()
    arms = [a.name for a in ARMS if any(a.name in row for row in compared.values())]
    width = 0.85 / len(arms)
    for i, arm in enumerate(arms):
        found = [
            row.get(arm, {}).get("goodput") or dict.fromkeys(("ratio", "low", "high"), np.nan)
            for row in compared.values()
        ]
        at = np.arange(len(found)) + (i - (len(arms) - 1) / 2) * width
        heights = np.array([f["ratio"] for f in found])
        spread = [heights - [f["low"] for f in found], [f["high"] for f in found] - heights]
        axis.bar(at, heights, width, label=arm, color=DEFAULT if arm == CHOSEN else OTHERS(i / len(arms)))
        axis.errorbar(at, heights, spread, fmt="none", ecolor="#444", elinewidth=1, capsize=2)
    axis.axhline(1, color="#444", lw=0.8, ls="--")
    axis.set_xticks(np.arange(len(compared)), list(compared))
    axis.set(ylabel=f"goodput / {BASELINE}")
    axis.set_title("\n".join(textwrap.wrap(caption, 100)), fontsize=7)
    axis.legend(frameon=False, ncols=1, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _rise(before: Mapping[str, int], after: Mapping[str, int]) -> Counter[str]:
    return Counter({k: n - before.get(k, 0) for k, n in after.items() if n > before.get(k, 0)})


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
