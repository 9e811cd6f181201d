"""Finished runs as one table, one picture and one file of numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context

from benchmarks.serving.arms import ARMS
from benchmarks.serving.finished import BASELINE, CHOSEN, cells, of_chosen, ratios
from benchmarks.serving.headline import INTERVAL, headline, line_of
from benchmarks.serving.picture import picture

AGAINST = ("goodput", "attainment", "TPOT p90", "TTFT p90")
CAPTION = (
    "two CPU cores, one for the server and one for the generator, grown {size} target; "
    "{window:g}-s windows of the same seeded requests; "
    "in brackets a 95 % block bootstrap over 5-s blocks"
)


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
    against = headline(chosen) + "".join(_against(chosen, metric) for metric in AGAINST)
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
    made = (
        "Made by `python -m benchmarks.serving`; raw runs are in the folders beside this file, but for those of "
        "recorded sequences, which hold the recording's arrivals.\n"
    )
    whole = f"# Stock vLLM and our engine, same HTTP server\n\n{caption}.\n\n{made}\n{head}{''.join(rows)}"
    return f"{whole}\n## By class\n\n{_by_class(numbers)}{_by_k(numbers)}"


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
        lines.append(line_of([arm, *shown]))
    return "\n".join(lines) + "\n"


def _by_class(numbers: dict[str, dict[str, Any]]) -> str:
    """Attained share, and P90 TPOT beside its objective, of each class."""
    every = [figures for row in numbers.values() for figures in row.values()]
    if not every:
        return ""
    slo_ms = every[0]["tpot_slo_ms"]
    titles = ["load", "arm", *(f"{c}: attained, TPOT p90 ms (objective {_figure(ms)})" for c, ms in slo_ms.items())]
    lines = [line_of(titles), "|---" * len(titles) + "|"]
    for load, row in numbers.items():
        for arm, f in row.items():
            shown = [f"{_percent(f['by_class'][c])}, {_figure(f['tpot_p90_ms'][c])}" for c in slo_ms]
            lines.append(line_of([load, arm, *shown]))
    return "\n".join(lines) + "\n"


def _by_k(numbers: dict[str, dict[str, Any]]) -> str:
    """Of our arms: the share of decode steps at each K. What stock engines draft is a setting."""
    rows = [(load, arm, f["k_steps"]) for load, row in numbers.items() for arm, f in row.items() if f.get("k_steps")]
    if not rows:
        return ""
    ks = sorted({int(k) for _, _, steps in rows for k in steps})
    titles = ["load", "arm", *(f"K = {k}" for k in ks)]
    lines = ["\n## Steps by K\n", line_of(titles), "|---" * len(titles) + "|"]
    for load, arm, steps in rows:
        shares = [steps.get(str(k), 0) / sum(steps.values()) for k in ks]
        lines.append(line_of([load, arm, *map(_percent, shares)]))
    return "\n".join(lines) + "\n"


def _row(load: str, arm: str, f: dict[str, Any], ratio: dict[str, Any] | None) -> str:
    times = [" / ".join(_figure(f[name][q]) for q in ("p50", "p90", "p99")) for name in ("tpot_ms", "ttft_ms")]
    goodput = "1" if ratio is None else INTERVAL.format(**ratio["goodput"])
    wasted = _percent(f["wasted_share"])
    own = [_figure(f.get(name)) for name in ("decide_ms", "switches_per_min")]
    own.append(_percent(f["foreign_share"]))
    shown = [_figure(f["goodput_tokens_per_s"]), goodput, _percent(f["attainment"]), _figure(f["tokens_per_s"])]
    return line_of([load, arm, str(f["rounds"]), *shown, *times, _figure(f["k"]), wasted, *own]) + "\n"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
