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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Grid
from scipy import stats

from loadgen.complaint import complain
from loadgen.results import Run, read
from loadgen.scenario import Closed, Prompts
from loadgen.sim.rng import FloatArray, generator
from loadgen.table import Table

RESAMPLES, BATCH = 2000, 100  # BATCH bounds memory: BATCH x requests numbers at a time
WORSE, REFUSED = 1, 2
IntArray = NDArray[np.int64]
Statistic = Callable[[IntArray], FloatArray]
"""[..., blocks] how often each block was drawn -> [...] the metric over the drawn requests."""


def _mean(values: FloatArray, block: IntArray) -> Statistic:
    def statistic(drawn: IntArray) -> FloatArray:
        weights = drawn[..., block]
        return np.asarray(weights @ values / weights.sum(-1))

    return statistic


def _per_s(values: FloatArray, stay_s: FloatArray, block: IntArray, loop: Closed) -> Statistic:
    """Of the loop's clients, each of which asks again after stay and pause: its requests a second (Little's law)."""
    busy_s = np.nan_to_num(stay_s) + loop.think_s

    def statistic(drawn: IntArray) -> FloatArray:
        weights = drawn[..., block]
        spent_s = weights @ busy_s
        return np.asarray(loop.clients * (weights @ values) / np.where(spent_s == 0, np.nan, spent_s))

    return statistic


def _quantile(values: FloatArray, block: IntArray, q: float) -> Statistic:
    """The inverse of the drawn requests' empirical distribution; nan values (errors) are left out."""
    finite = np.isfinite(values)
    order = np.argsort(values[finite])
    ordered, of = values[finite][order], block[finite][order]

    def statistic(drawn: IntArray) -> FloatArray:
        if not len(ordered):
            return np.full(drawn.shape[:-1], np.nan)
        reached = np.cumsum(drawn[..., of], axis=-1)
        return np.asarray(ordered[np.argmax(reached >= q * reached[..., -1:], axis=-1)])

    return statistic


METRICS: dict[str, tuple[str, float | None]] = {
    "goodput": ("attained_tokens", None),
    "attainment": ("attained", None),
    "TTFT p50": ("ttft_ms", 0.5),
    "TTFT p90": ("ttft_ms", 0.9),
    "TPOT p50": ("tpot_ms", 0.5),
    "TPOT p90": ("tpot_ms", 0.9),
    "E2E p50": ("e2e_ms", 0.5),
    "E2E p90": ("e2e_ms", 0.9),
}
"""Name -> column, and the quantile of it; None: its mean, and more is better. Goodput is attained tokens a request: an
open loop offers both sides the same in the same time. The sides of a closed loop take their own: there, a second."""
SAME = ("seed", "output", "classes", "api", "temperature", "ignore_eos")  # of two runs of the same requests


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
        complain(str(error))
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
    return judge([a.table for a in left], [b.table for b in right], margin, block_s, seed, _loop(left[0]))


def judge(
    left: Sequence[Table],
    right: Sequence[Table],
    margin: float,
    block_s: float,
    seed: int,
    closed: Closed | None = None,
) -> list[Verdict]:
    """Every metric of the same requests on two sides; rounds are pooled, no block spans two. `closed`: their loop."""
    found: list[IntArray] = []
    for rows in left:
        first = 1 + int(found[-1].max()) if found else 0
        found.append(first + np.unique(np.floor(rows.at_s / block_s), return_inverse=True)[1])
    block = np.concatenate(found)
    sides = {name: [_statistic(name, side, block, closed) for side in (left, right)] for name in METRICS}
    return [_verdict(name, sides[name], block, margin, generator(seed, name)) for name in METRICS]


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
    found: dict[str, tuple[Any, Any]] = {name: (getattr(a.scenario, name), getattr(b.scenario, name)) for name in SAME}
    found["arrivals"] = (_loop(a), _loop(b))
    found["prompts"] = (_prompts(a), _prompts(b))
    differing = ", ".join(name for name, (left, right) in found.items() if left != right)
    if not differing and not same_times and _loop(a) is None:
        differing = "arrival times"
    if differing or not np.array_equal(a.table.slo_class, b.table.slo_class):
        text = f"{a.folder} and {b.folder} are of different requests: use the same scenario and seed"
        raise ValueError(f"{text} ({differing or 'classes'} differ)")


def _loop(run: Run) -> Closed | None:
    """None: an open one, whose times are compared themselves."""
    arrivals = run.scenario.arrivals
    return arrivals if isinstance(arrivals, Closed) else None


def _prompts(run: Run) -> Prompts:
    """Where the file lies is the machine's."""
    return run.scenario.prompts.model_copy(update={"path": Path(run.scenario.prompts.path.name)})


def _statistic(name: str, side: Sequence[Table], block: IntArray, closed: Closed | None) -> Statistic:
    column, q = METRICS[name]
    values = np.concatenate([_column(rows, column) for rows in side])
    if closed is not None and name == "goodput":
        return _per_s(values, np.concatenate([rows.end_s - rows.at_s for rows in side]), block, closed)
    return _mean(values, block) if q is None else _quantile(values, block, q)


def _column(rows: Table, name: str) -> FloatArray:
    column = rows.output_tokens * rows.attained if name == "attained_tokens" else getattr(rows, name)
    return np.asarray(column, np.float64)


def _verdict(
    name: str, sides: Sequence[Statistic], block: IntArray, margin: float, rng: np.random.Generator
) -> Verdict:
    blocks, (of_left, of_right) = int(block.max()) + 1, sides

    def ratio(picked: IntArray, axis: int = -1) -> FloatArray:
        drawn = (np.moveaxis(picked, axis, -1)[..., None] == np.arange(blocks)).sum(-2)
        base = of_left(drawn)
        return np.asarray(of_right(drawn) / np.where(base == 0, np.nan, base))

    once = np.ones(blocks, np.int64)
    base, value, point = float(of_left(once)), float(of_right(once)), float(ratio(np.arange(blocks)))
    low = high = np.nan
    if blocks > 1 and np.isfinite(point):
        interval = stats.bootstrap(
            (np.arange(blocks),),
            ratio,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=BATCH,
            method="percentile",
            rng=rng,
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    return Verdict(
        name, base, value, point, low, high, _word(low, high, margin, more_is_better=METRICS[name][1] is None)
    )


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
