"""`python -m loadgen peak SCENARIO --slo 0.9`: the highest rate that keeps the attainment."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console

from loadgen import progress, scenario
from loadgen import run as runner
from loadgen.complaint import complain, counted, positive, reason, share
from loadgen.schedule import build


def add_arguments(parser: ArgumentParser) -> None:
    """What the command takes."""
    runner.add_target(parser)
    parser.add_argument("--slo", type=share, required=True, help="share of requests that must attain, 0..1")
    parser.add_argument("--first", type=positive, default=1.0, help="first rate tried, times the scenario's")
    parser.add_argument("--precision", type=positive, default=0.1, help="relative width of the answer")
    parser.add_argument("--most", type=counted, default=12, help="runs at most")
    parser.add_argument("--out", type=Path, required=True, help="folder: one run a subfolder, peak.json")


def run(args: Namespace) -> int:
    """0, or 2: refused, 3: a run's self-check failed, 4: a run gave no result."""
    console = Console()
    try:
        build(scenario.load(args.scenario).scaled(args.first))
    except (ValueError, OSError) as error:
        complain(f"{args.scenario}: {reason(error)}")
        return runner.REFUSED
    tried: dict[float, float] = {}

    def attainment(rate: float) -> float:
        folder = args.out / f"rate-{rate:.4g}"
        result = runner.measure(runner.options(args, folder, rate), console)
        if result is None:
            complain(f"no result: {progress.refusal(folder) or 'see its locust.log'}")
            raise _Stop(runner.FAILED)
        if not result["valid"]:
            console.print("; ".join(result["check"]["problems"]), markup=False)
            raise _Stop(runner.INVALID)
        tried[rate] = float(result["total"]["attainment"])
        console.print(f"rate x {rate:.4g}: attainment {tried[rate]:.3f}")
        return tried[rate]

    status = 0
    try:
        search(attainment, args.slo, args.first, args.precision, args.most)
    except _Stop as stop:
        status = stop.status  # what was found before is still worth writing
    best, complete = best_of(tried, args.slo), is_complete(tried, args.slo, args.precision)
    rows = [{"rate": rate, "attainment": share} for rate, share in sorted(tried.items())]
    found = {"slo": args.slo, "peak": best, "complete": complete, "tried": rows}
    (args.out / "peak.json").write_text(json.dumps(found, indent=1) + "\n")
    at_least = "" if complete else " at least (give --most more runs)"
    found_text = f"peak: {best:.4g} times the scenario's rate{at_least}"
    console.print("no rate tried attains it" if best is None else found_text)
    return status


def best_of(tried: Mapping[float, float], slo: float) -> float | None:
    """The highest rate that attained below every rate that did not."""
    failed = _lowest_failed(tried, slo)
    return max((rate for rate, share in tried.items() if share >= slo and rate < failed), default=None)


def is_complete(tried: Mapping[float, float], slo: float, precision: float) -> bool:
    """A rate that failed lies within `precision` of the best: otherwise a higher one may attain too."""
    best = best_of(tried, slo)
    return best is not None and _lowest_failed(tried, slo) <= best * (1 + precision)


def _lowest_failed(tried: Mapping[float, float], slo: float) -> float:
    return min((rate for rate, share in tried.items() if share < slo), default=float("inf"))


class _Stop(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def search(attainment: Callable[[float], float], slo: float, first: float, precision: float, most: int) -> float | None:
    """The highest rate seen to attain: doubling or halving until both sides are known, then bisection.

    Attainment need not fall evenly; the answer is a rate below one that failed, and above it nothing was seen to pass.
    None: not even the lowest rate tried attains.
    """
    good: float | None = None
    bad: float | None = None
    rate = first
    for _ in range(most):
        if attainment(rate) >= slo:
            good = rate
        else:
            bad = rate
        if good is not None and bad is not None and bad / good <= 1 + precision:
            break
        rate = 2 * rate if bad is None else rate / 2 if good is None else (good * bad) ** 0.5
    return good
