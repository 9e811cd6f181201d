"""`python -m loadgen compare BASELINE OTHER ...`: the same requests at two servers, request by request.

Requests close in time share a queue and are not independent, so whole blocks of time are drawn anew (block bootstrap,
Kunsch 1989), the same blocks on both sides.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Grid
from scipy import stats

from loadgen.results import Run, read
from loadgen.sim.rng import FloatArray, generator
from loadgen.table import Table

RESAMPLES = 2000
WORSE, REFUSED = 1, 2
IntArray = NDArray[np.int64]
Statistic = Callable[[Table, IntArray], float]


def _quantile(column: str, q: float) -> Statistic:
    def value(rows: Table, picked: IntArray) -> float:
        values = getattr(rows, column)[picked]
        values = values[np.isfinite(values)]
        return float(np.percentile(values, q)) if len(values) else np.nan

    return value


def _goodput(rows: Table, picked: IntArray) -> float:
    """Tokens of attained requests; the ratio of two of them is that of the rates over equal time."""
    return float(rows.output_tokens[picked][rows.attained[picked]].sum())


def _attainment(rows: Table, picked: IntArray) -> float:
    return float(rows.attained[picked].mean())


METRICS: dict[str, tuple[Statistic, bool]] = {
    "goodput": (_goodput, True),
    "attainment": (_attainment, True),
    "TTFT p50": (_quantile("ttft_ms", 50), False),
    "TTFT p90": (_quantile("ttft_ms", 90), False),
    "TPOT p50": (_quantile("tpot_ms", 50), False),
    "TPOT p90": (_quantile("tpot_ms", 90), False),
    "E2E p50": (_quantile("e2e_ms", 50), False),
    "E2E p90": (_quantile("e2e_ms", 90), False),
}
"""Name -> statistic of the picked rows, and whether more is better."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One metric: other / baseline with a 95 % interval."""

    metric: str
    baseline: float
    other: float
    ratio: float
    low: float
    high: float
    verdict: str  # better, worse, same (the interval lies within the margin), unclear


def add_arguments(parser: ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("baseline", type=Path, help="folder of a run, or of runs (one a round)")
    parser.add_argument("others", type=Path, nargs="+", help="folders to hold against it, with the same requests")
    parser.add_argument("--margin", type=float, default=0.02, help="a smaller relative difference is none")
    parser.add_argument("--block-s", type=float, default=5.0, help="time drawn together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the verdicts here")


def run(args: Namespace) -> int:
    """0: nothing is worse, 1: something is, 2: the runs cannot be compared."""
    try:
        found = {str(o): compare(args.baseline, o, args.margin, args.block_s, args.seed) for o in args.others}
    except (ValueError, OSError) as error:
        Console(stderr=True).print(str(error), markup=False)
        return REFUSED
    for other, verdicts in found.items():
        Console().print(_grid(f"{other} against {args.baseline}", verdicts))
    if args.json:
        args.json.write_text(json.dumps({o: [asdict(v) for v in vs] for o, vs in found.items()}, indent=1) + "\n")
    return WORSE if any(v.verdict == "worse" for vs in found.values() for v in vs) else 0


def compare(baseline: Path, other: Path, margin: float, block_s: float, seed: int) -> list[Verdict]:
    """Every metric.

    Raises:
        ValueError: a folder without runs, an invalid run, or runs of different requests.
    """
    left, right = runs(baseline), runs(other)
    if len(left) != len(right):
        raise ValueError(f"{baseline} has {len(left)} runs, {other} {len(right)}: rounds come in pairs")
    for a, b in zip(left, right, strict=True):
        _require_same(a, b)
    return judge([a.table for a in left], [b.table for b in right], margin, block_s, seed)


def judge(left: Sequence[Table], right: Sequence[Table], margin: float, block_s: float, seed: int) -> list[Verdict]:
    """Every metric of the same requests on two sides."""
    blocks = [_blocks(rows.at_s, block_s) for rows in left]
    units = [(i, picked) for i, found in enumerate(blocks) for picked in found]
    return [_verdict(name, left, right, units, margin, generator(seed, name)) for name in METRICS]


def runs(folder: Path) -> list[Run]:
    """The run in a folder, or the runs in its subfolders by name. Raises ValueError (see `compare`)."""
    inside = sorted(p.parent for p in folder.glob("*/result.json"))
    found = [read(path) for path in (inside if inside and not (folder / "result.json").exists() else [folder])]
    for one in found:
        if not one.result["valid"]:
            raise ValueError(f"{one.folder} is invalid: {'; '.join(one.result['check']['problems'])}")
    return found


def _require_same(a: Run, b: Run) -> None:
    same_times = len(a.table) == len(b.table) and np.allclose(a.table.at_s, b.table.at_s, atol=1e-6)
    open_loop = a.scenario.arrivals.kind != "closed"
    if (open_loop and not same_times) or not np.array_equal(a.table.slo_class, b.table.slo_class):
        raise ValueError(f"{a.folder} and {b.folder} are of different requests: use the same scenario and seed")


def _blocks(at_s: FloatArray, block_s: float) -> list[IntArray]:
    which = np.floor(at_s / block_s)
    return [np.flatnonzero(which == b) for b in np.unique(which)]


def _verdict(
    name: str,
    left: Sequence[Table],
    right: Sequence[Table],
    units: Sequence[tuple[int, IntArray]],
    margin: float,
    rng: np.random.Generator,
) -> Verdict:
    statistic, more_is_better = METRICS[name]

    def both(chosen: IntArray) -> tuple[float, float]:
        return _over(statistic, left, units, chosen), _over(statistic, right, units, chosen)

    def ratio(chosen: IntArray) -> float:
        base, value = both(chosen)
        return value / base if base else np.nan

    everything = np.arange(len(units))
    base, value = both(everything)
    low = high = np.nan
    if len(units) > 1 and np.isfinite(ratio(everything)):
        drawn = stats.bootstrap(
            (everything,), ratio, vectorized=False, n_resamples=RESAMPLES, method="percentile", rng=rng
        ).confidence_interval
        low, high = float(drawn.low), float(drawn.high)
    point = ratio(everything)
    return Verdict(name, base, value, point, low, high, _word(low, high, margin, more_is_better=more_is_better))


def _over(
    statistic: Statistic, sides: Sequence[Table], units: Sequence[tuple[int, IntArray]], chosen: IntArray
) -> float:
    """The statistic over the chosen blocks of all rounds: the mean over rounds, by the rows each contributes."""
    values, weights = [], []
    for i, rows in enumerate(sides):
        parts = [units[c][1] for c in chosen if units[c][0] == i]
        if parts:
            picked = np.concatenate(parts)
            values.append(statistic(rows, picked))
            weights.append(len(picked))
    return float(np.average(values, weights=weights))


def _word(low: float, high: float, margin: float, *, more_is_better: bool) -> str:
    if not (np.isfinite(low) and np.isfinite(high)):
        return "unclear"
    if 1 - margin <= low and high <= 1 + margin:
        return "same"
    if low > 1 + margin:
        return "better" if more_is_better else "worse"
    if high < 1 - margin:
        return "worse" if more_is_better else "better"
    return "unclear"


def _grid(title: str, verdicts: Sequence[Verdict]) -> Grid:
    grid = Grid("metric", "baseline", "other", "ratio [95 %]", "verdict", title=title)
    colors = {"better": "green", "worse": "red"}
    for v in verdicts:
        interval = f"{v.ratio:.3f} [{v.low:.3f}, {v.high:.3f}]"
        grid.add_row(v.metric, f"{v.baseline:.4g}", f"{v.other:.4g}", interval, v.verdict, style=colors.get(v.verdict))
    return grid
