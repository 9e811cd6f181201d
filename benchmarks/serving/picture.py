"""Goodput of every arm under every load, as bars with intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from benchmarks.serving.arms import ARMS
from benchmarks.serving.finished import BASELINE, CHOSEN

DEFAULT, OTHERS = "#d9713c", colormaps["viridis"]


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
