"""A finished simulation as one self-contained HTML page."""

from __future__ import annotations

import html
import io
import json
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadgen.sim.fleet import Simulation
from loadgen.sim.rng import FloatArray

STYLE = "body{font:15px system-ui;max-width:70em;margin:2em auto}td,th{padding:.2em .8em;text-align:right}"
COLUMNS = ("requests", "finished", "shed", "attainment", "goodput_tokens_per_s", "tokens_per_s")


def page(done: Simulation, numbers: dict[str, Any]) -> str:
    """Table, plots and the numbers behind them; no script, nothing loaded from elsewhere."""
    title = html.escape(f"{done.scenario.name}: {done.scenario.policy.name}")
    details = html.escape(json.dumps({k: v for k, v in numbers.items() if k != "over_time"}, indent=1))
    return (
        f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
        f"{_table(numbers)}{_svg(_plots(done, numbers))}"
        f"<details><summary>numbers</summary><pre>{details}</pre></details>"
    )


def _table(numbers: dict[str, Any]) -> str:
    head = "".join(f"<th>{html.escape(c)}" for c in ("class", *COLUMNS, "TTFT p50/p90/p99 ms", "TPOT p50/p90/p99 ms"))
    rows = {**numbers["classes"], "total": numbers["total"]}
    return f"<table><tr>{head}" + "".join(_row(name, row) for name, row in rows.items()) + "</table>"


def _row(name: str, row: dict[str, Any]) -> str:
    plain = [f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c]) for c in COLUMNS]
    times = [" / ".join("-" if v is None else f"{v:.4g}" for v in row[m].values()) for m in ("ttft_ms", "tpot_ms")]
    return f"<tr><td>{html.escape(name)}" + "".join(f"<td>{cell}" for cell in (*plain, *times))


def _plots(done: Simulation, numbers: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    time = numbers["over_time"]
    _line(axes[0, 0], time["at_s"], time["k"], "mean K")
    _line(axes[0, 1], time["at_s"], time["batch"], "decode requests per replica")
    work, record = done.work, done.record
    tpot_s = (record.finish_s - record.first_s) / np.maximum(work.output_tokens - 1, 1)
    _distribution(axes[1, 0], done, record.first_s - work.arrival_s, "TTFT (ms)")
    _distribution(axes[1, 1], done, tpot_s, "TPOT (ms)")
    return figure


def _line(axis: Axes, x: list[float], y: list[float], label: str) -> None:
    axis.plot(x, y, lw=1)
    axis.set(xlabel="s", ylabel=label, ylim=(0, None))


def _distribution(axis: Axes, done: Simulation, seconds: FloatArray, label: str) -> None:
    for i, spec in enumerate(done.scenario.classes):
        mine = np.sort(seconds[(done.work.slo_class == i) & ~np.isnan(seconds)]) * 1e3
        if len(mine):
            shown = mine[np.linspace(0, len(mine) - 1, min(len(mine), 500)).astype(np.int64)]
            axis.plot(shown, np.linspace(0, 1, len(shown)), lw=1, label=spec.name)
    axis.set(xlabel=label, ylabel="share of requests", xscale="log")
    axis.legend()


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
