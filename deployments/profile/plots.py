"""The figures of a profile's report, as inline SVG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter

from policies.api import FloatArray

INK, ACCENT, WARM, MUTED = "#1f3a5f", "#2a78c2", "#d9713c", "#8a94a0"
COLOURS = (ACCENT, WARM, "#3f9c6d", "#8d5fb5", "#b8922f")
STYLE: dict[str, Any] = {"ms": 4, "lw": 1.6}


def svg(figure: Figure) -> str:
    """The element alone, without a date, so that the same numbers give the same text."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def time_model(points: list[dict[str, Any]]) -> Figure:
    """Predicted against measured step time, and the error by batch."""
    figure, (left, right) = _pair()
    for held_out, colour, label in ((False, MUTED, "fitted"), (True, WARM, "held out")):
        mine = [p for p in points if p["held_out"] == held_out]
        measured, predicted = (np.array([p[name] for p in mine]) for name in ("measured_ms", "predicted_ms"))
        left.plot(measured, predicted, "o", color=colour, ms=3.5, alpha=0.75, mew=0, label=label)
        batch = np.array([p["batch"] for p in mine])
        right.plot(batch, 100 * (predicted / measured - 1), "o", color=colour, ms=3.5, alpha=0.75, mew=0, label=label)
    _diagonal(left, [p["measured_ms"] for p in points])
    left.set(xlabel="measured step (ms)", ylabel="predicted step (ms)")
    right.axhspan(-10, 10, color=ACCENT, alpha=0.12, lw=0)
    right.set(xlabel="batch", ylabel="predicted - measured (%)", ylim=_symmetric(points))
    _batches(right, [p["batch"] for p in points])
    left.legend(frameon=False)
    return figure


def confidence(found: dict[str, Any]) -> Figure:
    """Reliability by domain, and how often each confidence occurs."""
    figure, (left, right) = _pair()
    left.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--")
    for colour, (name, group) in zip(COLOURS, found["domains"].items(), strict=False):
        curve = group["curve"]
        x, y = ([bin_[key] for bin_ in curve] for key in ("confidence", "accepted"))
        left.plot(x, y, "o-", color=colour, label=name, **STYLE)
        share = [bin_["tokens"] / max(group["tokens"], 1) for bin_ in curve]
        right.plot(x, share, "o-", color=colour, label=name, **STYLE)
    left.set(xlabel="draft's confidence", ylabel="share accepted by the target", xlim=(0, 1), ylim=(0, 1.02))
    right.set(xlabel="draft's confidence", ylabel="share of draft tokens", xlim=(0, 1), ylim=(0, None))
    left.legend(frameon=False, loc="lower right")
    return figure


def advice(rows: list[dict[str, Any]], acceptance: float) -> Figure:
    """Break-even acceptance and what the best static K gains, by batch."""
    figure, (left, right) = _pair()
    batch = [row["batch"] for row in rows]
    even = [np.nan if row["break_even_acceptance"] is None else row["break_even_acceptance"] for row in rows]
    left.plot(batch, even, "o-", color=ACCENT, label="breaks even", **STYLE)
    left.axhline(acceptance, color=WARM, lw=1.6, label="measured")
    left.set(xlabel="batch", ylabel="acceptance rate", ylim=(0, 1.02))
    left.legend(frameon=False)
    right.plot(batch, [100 * row["gain"] for row in rows], "o-", color=ACCENT, **STYLE)
    for row in rows:
        at = row["batch"], 100 * row["gain"]
        right.annotate(f"K {row['best_k']}", at, (0, 6), textcoords="offset points", ha="center", fontsize=8)
    right.set(xlabel="batch", ylabel="best static K over no speculation (%)")
    right.margins(y=0.15)
    for axis in (left, right):
        _batches(axis, batch)
    return figure


def decisions(rows: list[dict[str, Any]]) -> Figure:
    """Time of the controller and of token elimination, by batch."""
    figure, axes = _pair()
    names = (("controller_ms", "plan and early stops (ms)"), ("elimination_ms", "token elimination (ms)"))
    for axis, (column, label) in zip(axes, names, strict=True):
        for colour, policy in zip(COLOURS, dict.fromkeys(r["policy"] for r in rows), strict=False):
            mine = [r for r in rows if r["policy"] == policy]
            axis.plot([r["batch"] for r in mine], [r[column] for r in mine], "o-", color=colour, label=policy, **STYLE)
        axis.set(xlabel="batch", ylabel=label, ylim=(0, None))
        _batches(axis, [r["batch"] for r in rows])
    axes[0].legend(frameon=False)
    return figure


def _pair() -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#e4e8ec", lw=0.6)
        axis.set_axisbelow(True)
    return figure, (left, right)


def _batches(axis: Axes, values: list[int]) -> None:
    ticks = [2**i for i in range(max(values).bit_length()) if 2**i <= max(values)]
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [str(tick) for tick in ticks])


def _diagonal(axis: Axes, values: list[float]) -> None:
    """Where prediction equals measurement, on logarithmic axes."""
    ends = [min(values), max(values)]
    axis.plot(ends, ends, color=INK, lw=1, ls="--")
    ticks = [t for power in range(-1, 5) for t in (10**power, 2 * 10**power, 5 * 10**power) if ends[0] < t < ends[1]]
    axis.set(xscale="log", yscale="log")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(FixedLocator(ticks))
        side.set_major_formatter("{x:g}")
        side.set_minor_formatter(NullFormatter())


def _symmetric(points: list[dict[str, Any]]) -> tuple[float, float]:
    off: FloatArray = np.array([100 * (p["predicted_ms"] / p["measured_ms"] - 1) for p in points])
    most = max(15.0, float(np.quantile(np.abs(off), 0.98)) * 1.1)
    return -most, most
