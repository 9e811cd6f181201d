"""The scoreboard's results as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from benchmarks.cells import STATIC, Cell
from loadgen.sim.scenario import ORACLE

DEFAULT = "slo_goodput"
Results = Mapping[str, Mapping[str, Mapping[str, Any]]]
MEANS = ("attainment", "mean_k", "wasted_per_token", "switches_per_minute")
STATICS = ("off", *(f"fixed_{k}" for k in STATIC))

INTRO = """# Scoreboard

Simulated (`python -m benchmarks.scoreboard`): the service's own policies against a true cost and acceptance
model. Within a cell and seed every policy meets the same arrivals, lengths and acceptance outcomes. Goodput
counts tokens of requests within both their TTFT and TPOT objectives, per second. The oracle knows each step's
true time and each token's true acceptance probability (not its outcome), maximises expected tokens per time
of each step, and switches for nothing; it does not look ahead, so it can be beaten. "best static" is the best
of K = 0, 1, 2, 3, 5, 7 in hindsight, per cell. `specdec_pp` uses the calibrated acceptance model for its
head. `provenance.jsonl` has the commands, versions and dates.
"""


CLAIMS = """## Published comparisons

Geometric mean over all cells (worst cell, best cell). The papers report their best cases, on their own engines, against
baselines that may be overloaded: the largest ratios here are such cases too, a static K far too long for the load.
AdaSpec falls short where loads are high and texts mixed: it trusts the draft's own confidence and learns nothing from
what was accepted. Nightjar falls short at high load and low acceptance: it learns by trying lengths, and in runs of 500
to 900 steps each wrong one makes requests late; by tokens/s, which its paper reports, it loses much less.

"""


def markdown(results: Mapping[Cell, Results]) -> str:
    """Summary of every policy, the bars of the default, the day-long mix, then every cell."""
    parts = [INTRO, _summary(results), _bars(results), _day(results), _claims(results), _every_cell(results)]
    return "\n".join(parts)


def mean(cell: Results, policy: str, field: str = "goodput", like: str | None = None) -> float:
    """Over the policy's seeds; `like`: over those which that policy has too."""
    seeds = cell[policy].keys() & cell[like or policy].keys()
    return float(np.mean([cell[policy][seed][field] for seed in seeds]))


def best_static(cell: Results, like: str | None = None) -> str:
    """Label of the best static K in hindsight."""
    return max(STATICS, key=lambda name: mean(cell, name, like=like))


def ratio(cell: Results, policy: str, other: str, field: str = "goodput") -> float:
    """Of the means, over the seeds that both have."""
    a, b = mean(cell, policy, field, like=other), mean(cell, other, field, like=policy)
    return a / b if b > 0 else (1.0 if a == 0 else float("inf"))


def _to_static(cell: Results, policy: str) -> float:
    return ratio(cell, policy, best_static(cell, like=policy))


def _geometric(values: Iterable[float]) -> float:
    return float(np.exp(np.mean(np.log(np.maximum([*values], 1e-3)))))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def _labels(results: Mapping[Cell, Results]) -> list[str]:
    return list(dict.fromkeys(name for cell in results.values() for name in cell))


def _summary(results: Mapping[Cell, Results]) -> str:
    def cells(name: str) -> list[Results]:
        return [c for c in results.values() if name in c]

    def row(name: str) -> list[str]:
        ratios = (
            [ratio(c, name, ORACLE) for c in cells(name)],
            [_to_static(c, name) for c in cells(name)],
            [ratio(c, name, "off") for c in cells(name)],
        )
        shown = [f"{_geometric(r):.3f} ({min(r):.2f})" for r in ratios]
        means = [f"{np.mean([mean(c, name, f) for c in cells(name)]):.3f}" for f in MEANS]
        runs = f"{len(cells(name))} x {min(len(c[name]) for c in cells(name))}"
        return [name, runs, *shown, *means]

    order = sorted(_labels(results), key=lambda name: -_geometric(ratio(c, name, ORACLE) for c in cells(name)))
    head = ("policy", "cells x seeds", "goodput / oracle", "/ best static", "/ off", *MEANS)
    return f"## All cells\n\nGeometric mean over the cells (worst cell). {_seeds(results)}\n\n" + _table(
        head, map(row, order)
    )


def _seeds(results: Mapping[Cell, Results]) -> str:
    """Which policies have how many seeds in their thinnest cell."""
    fewest: dict[int, list[str]] = {}
    for name in _labels(results):
        fewest.setdefault(min(len(c[name]) for c in results.values() if name in c), []).append(name)
    if len(fewest) == 1:
        return f"Every policy has {next(iter(fewest))} seeds in every cell."
    return "Seeds: " + "; ".join(f"{n} for {', '.join(names)}" for n, names in sorted(fewest.items())) + "."


def _bars(results: Mapping[Cell, Results]) -> str:
    """What the default must reach in every cell, and where it does not."""

    def lead(cell: Results) -> float:
        """Of the default over the best other controller, over the seeds both have."""
        names = [name for name in cell if name not in {ORACLE, DEFAULT, *STATICS}]
        pairs = ((DEFAULT, name) for name in names)
        return min(mean(cell, a, "attainment", like=b) - mean(cell, b, "attainment", like=a) for a, b in pairs)

    bars: list[tuple[str, Callable[[Cell, Results], float], Callable[[Cell], float]]] = [
        (">= .98 of off", lambda _, r: ratio(r, DEFAULT, "off"), lambda _: 0.98),
        (">= .97 of best static", lambda _, r: _to_static(r, DEFAULT), lambda _: 0.97),
        (
            ">= .95 of oracle (.92 where load or text moves)",
            lambda _, r: ratio(r, DEFAULT, ORACLE),
            lambda c: 0.95 if c.stationary else 0.92,
        ),
        (
            "attainment >= best controller's - .005",
            lambda _, r: lead(r),
            lambda _: -0.005,
        ),
    ]
    rows = []
    for name, value, least in bars:
        found = {cell.name: value(cell, r) for cell, r in results.items()}
        missed = {cell.name: found[cell.name] for cell in results if found[cell.name] < least(cell)}
        worst = ", ".join(f"{c} {v:.3f}" for c, v in sorted(missed.items(), key=lambda item: item[1])[:6])
        rows.append([name, f"{len(found) - len(missed)} of {len(found)}", worst or "-"])
    return f"## The default, `{DEFAULT}`\n\n" + _table(("bar", "cells met", "worst misses"), rows)


def _day(results: Mapping[Cell, Results]) -> str:
    day = {cell: r for cell, r in results.items() if cell.load == "day"}
    if not day:
        return ""
    rows = []
    for cell, r in day.items():
        label = best_static(r)
        shown = [f"{mean(r, name):.0f}" for name in (DEFAULT, label, "off", ORACLE)]
        rows.append([cell.name, label, *shown, f"{_to_static(r, DEFAULT):.3f}"])
    single = max(STATICS, key=lambda name: _geometric(mean(r, name) for r in day.values()))
    headline = _geometric(ratio(r, DEFAULT, single) for r in day.values())
    text = f"The default is {headline:.2f} times the best single setting over all day-long mixes (`{single}`).\n\n"
    head = ("cell", "best static here", DEFAULT, "best static", "off", ORACLE, "ratio to best static")
    return "## The day-long mix\n\n" + text + _table(head, rows)


def _claims(results: Mapping[Cell, Results]) -> str:
    """The papers' comparisons, by throughput and by goodput."""
    pairs = [
        ("adaspec", ("fixed_1", "fixed_3", "fixed_5", "confidence", "goodput"), "up to 1.66 over these (AdaSpec)"),
        ("nightjar", ("off",), "1.27 over none (Nightjar)"),
        ("nightjar", ("fixed_3",), "1.08 over static 3 (Nightjar)"),
        (DEFAULT, ("adaspec",), "-"),
        (DEFAULT, ("nightjar",), "-"),
    ]
    rows = [
        [name, other, *(_spread(results, name, other, field) for field in ("goodput", "tokens_per_s")), claim]
        for name, against, claim in pairs
        for other in against
    ]
    head = ("policy", "against", "goodput ratio (least, most)", "tokens/s ratio (least, most)", "published")
    return CLAIMS + _table(head, rows)


def _spread(results: Mapping[Cell, Results], name: str, other: str, field: str) -> str:
    ratios = {cell.name: ratio(c, name, other, field) for cell, c in results.items() if name in c and other in c}
    if not ratios:
        return "-"
    worst, best = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
    return f"{_geometric(ratios.values()):.3f} ({ratios[worst]:.2f} {worst}, {ratios[best]:.2f} {best})"


def _every_cell(results: Mapping[Cell, Results]) -> str:
    names = [DEFAULT, *(n for n in _labels(results) if n not in {DEFAULT, *STATICS})]
    rows = []
    for cell, r in results.items():
        label = best_static(r)
        shown = [f"{mean(r, n):.0f}" if n in r else "-" for n in names]
        rows.append([cell.name, f"{mean(r, 'off'):.0f}", f"{mean(r, label):.0f} ({label})", *shown])
    return "## Every cell: goodput, tokens/s\n\n" + _table(("cell", "off", "best static", *names), rows)
