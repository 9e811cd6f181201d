"""A run's figures."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadgen.scenario import Scenario
from loadgen.sim.rng import FloatArray
from loadgen.table import Table

BLUE, ORANGE, GREY = "#2a6fb0", "#d9822b", "#8a97a5"
POINTS = 600  # a curve needs no more

Series = dict[str, list[Any]]


def timeline(time: Series) -> Figure:
    """Server and client on one time axis: load, K, acceptance, latency."""
    has_counters = "k" in time
    figure = Figure(figsize=(11, 6.4 if has_counters else 4.4), layout="constrained")
    axes = figure.subplots(3 if has_counters else 2, 1, sharex=True)
    at = np.array(time["at_s"], np.float64)
    _load(axes[0], at, time)
    _latencies(axes[1], at, time)
    if has_counters:
        _speculation(axes[2], at, time)
    axes[-1].set_xlabel("seconds since the start")
    return figure


def _load(axis: Axes, at: FloatArray, time: Series) -> None:
    width = float(np.median(np.diff(at))) if len(at) > 1 else 1.0
    axis.bar(at, np.array(time["arrived"]) / width, width=width, color=GREY, alpha=0.5)
    axis.set(ylabel="arrivals/s", ylim=(0, None))
    if "running" in time:
        right = axis.twinx()
        right.plot(at, _floats(time["running"]), color=BLUE, label="running")
        right.plot(at, _floats(time["waiting"]), color=ORANGE, label="waiting")
        right.set(ylabel="requests in the engine", ylim=(0, None))
        right.legend(loc="upper right", frameon=False, ncols=2)


def _latencies(axis: Axes, at: FloatArray, time: Series) -> None:
    right = axis.twinx()
    for where, key, color, label in ((axis, "ttft_p50_ms", ORANGE, "TTFT"), (right, "tpot_p50_ms", BLUE, "TPOT")):
        where.plot(at, _floats(time[key]), color=color, marker=".", lw=1)
        where.set_ylabel(f"median {label}, ms", color=color)
        _room(where, time[key])


def _speculation(axis: Axes, at: FloatArray, time: Series) -> None:
    axis.step(at, _floats(time["k"]), where="mid", color=BLUE)
    axis.set_ylabel("mean K", color=BLUE)
    _room(axis, time["k"])
    right = axis.twinx()
    right.plot(at, _floats(time["accepted_share"]), color=ORANGE, marker=".", lw=1)
    right.set_ylabel("accepted / drafted", color=ORANGE)
    right.set_ylim(0, 1)


def distributions(scenario: Scenario, rows: Table) -> Figure:
    """Cumulative shares by class with each class's limit, and the generator's own lag."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, column, label in ((axes[0], "ttft_ms", "TTFT, ms"), (axes[1], "tpot_ms", "TPOT, ms")):
        for i, spec in enumerate(scenario.classes):
            mine = getattr(rows, column)[(rows.slo_class == spec.name) & rows.ok]
            _cumulative(axis, mine, f"C{i}", spec.name)
            limit = getattr(spec, column)
            if np.isfinite(limit):
                axis.axvline(limit, color=f"C{i}", ls=":", lw=1)
        axis.set(xlabel=f"{label} (dotted: limit)", ylabel="share of requests", ylim=(0, 1.02))
        _scale(axis, getattr(rows, column))
        axis.legend(frameon=False, loc="upper left")
    _cumulative(axes[2], 1e3 * (rows.sent_s - rows.at_s), GREY, "send lag")
    axes[2].axvline(scenario.check.send_lag_p99_ms, color="C3", ls=":", lw=1)
    axes[2].set(xlabel="send lag, ms (dotted: bound of p99)", ylim=(0, 1.02), xscale="log")
    axes[2].xaxis.set_major_formatter("{x:g}")
    return figure


def _cumulative(axis: Axes, values: FloatArray, color: str, label: str) -> None:
    shown = np.sort(values[np.isfinite(values) & (values > 0)])
    if len(shown):
        picked = np.linspace(0, len(shown) - 1, min(len(shown), POINTS)).astype(np.int64)
        axis.plot(shown[picked], (picked + 1) / len(shown), color=color, label=label)


def _room(axis: Axes, values: list[Any]) -> None:
    known = [v for v in values if v is not None]
    axis.set_ylim(0, 1.15 * max(known) if known and max(known) > 0 else 1)


def _scale(axis: Axes, values: FloatArray) -> None:
    """Logarithmic where the values span more than a decade and a half: narrower ticks would run together."""
    shown = values[np.isfinite(values) & (values > 0)]
    if len(shown) and shown.max() > 30 * shown.min():
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
    else:
        axis.set_xlim(0, None)


def _floats(values: list[Any]) -> FloatArray:
    return np.array([np.nan if v is None else v for v in values], np.float64)
