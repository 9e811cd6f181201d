"""`python -m deployments.profile --config serve_config.yaml`: calibrates to this hardware and this pair of models."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from deployments.config_file import read
from deployments.preflight import folder_of, require_loadable
from deployments.problems import Problem
from deployments.profile.analysis import Findings, profile_of, report_of
from deployments.profile.decisions import decisions
from deployments.profile.design import Run, again, first_runs
from deployments.profile.identity import key_of
from deployments.profile.measure import Bench, Measured
from deployments.profile.report import page
from deployments.profile.shapes import shapes_of
from deployments.settings import AppArgs, VllmEngine

BUDGET_S, LARGE_BUDGET_S = 95.0, 330.0  # of measuring; the second where the target's weights are more than ...
LARGE_BYTES = 1 << 29
FULL_BATCH, FULL_FACTOR = 256, 3.0
ENOUGH = 0.01  # relative standard error of every batch's medians from which on nothing is measured again


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 1 where the config is refused."""
    args = _arguments(argv)
    console = Console(stderr=True)
    try:
        engine = _engine(args)
        require_loadable(engine)
    except (ValueError, OSError, LookupError, TypeError) as error:
        console.print(f"{args.config}: {error}", markup=False, soft_wrap=True)  # one line, to be searched for
        return 1
    console.print(f"starting {engine.model} with {engine.draft}", markup=False)
    bench = Bench(engine, args.texts)
    started_s = time.monotonic()
    try:
        measured = list(_measure(bench, engine, args, console))
    finally:
        bench.close()
    found = _findings(measured, engine)
    profile = profile_of(found, key_of(engine), datetime.now(UTC).isoformat(timespec="seconds"))
    args.out.mkdir(parents=True, exist_ok=True)
    profile.save(args.out / "profile.json")
    report = report_of(found, profile, engine.served_model_name or engine.model, str(args.out / "profile.json"))
    report["provenance"] = _provenance(args, engine, measured, time.monotonic() - started_s)
    report["compared"] = [json.loads(file.read_text()) for file in args.compare]
    (args.out / "report.html").write_text(page(report))
    (args.out / "report.json").write_text(json.dumps({k: v for k, v in report.items() if k != "compared"}, indent=1))
    _say(console, report, args.out)
    return 0


def _arguments(argv: list[str] | None) -> Namespace:
    parser = ArgumentParser(prog="python -m deployments.profile", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    parser.add_argument("--out", type=Path, default=Path(".profile"), help="folder for profile.json and the report")
    parser.add_argument("--model", help="target in place of the config's")
    parser.add_argument("--texts", type=Path, default=Path("models/heldout.jsonl"), help="JSON lines: domain, prompt")
    parser.add_argument("--full", action="store_true", help="batches up to 256 and three times as many steps")
    parser.add_argument("--budget-s", type=float, help="seconds of measuring; by default chosen by the target's size")
    parser.add_argument("--compare", type=Path, nargs="*", default=[], help="report.json of other targets to show too")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def _engine(args: Namespace) -> VllmEngine:
    """The config's engine, as it will be measured."""
    raw = read(args.config)
    if isinstance(raw, Problem):
        raise ValueError(str(raw))  # noqa: TRY004 - main's word for a config that is refused
    engine = AppArgs.model_validate(raw["applications"][0]["args"]).engine
    if not isinstance(engine, VllmEngine) or engine.draft is None:
        raise ValueError("args.engine: only a vLLM engine with a draft has anything to calibrate")
    changes: dict[str, Any] = {}
    if args.model:
        changes |= {"model": args.model, "served_model_name": Path(args.model).name}
    if args.full:
        changes["max_num_seqs"] = FULL_BATCH
    return engine.model_copy(update=changes)


def _measure(bench: Bench, engine: VllmEngine, args: Namespace, console: Console) -> Iterator[Measured]:
    """The first runs, then the least certain batches again, until the budget is spent."""
    columns = (TextColumn("measuring: {task.description}"), BarColumn(), TimeRemainingColumn())
    started_s = time.monotonic()
    rows: list[list[float]] = []
    first = first_runs(bench.limits, args.seed)
    budget_s = args.budget_s or _budget_s(engine, full=args.full)
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=budget_s)
        for count, run in enumerate(_runs(first, bench, rows, args.seed)):
            spent_s = time.monotonic() - started_s
            if spent_s > budget_s or (count >= len(first) and _certain(rows)):
                break
            bar.update(task, completed=spent_s, description=f"batch {run.batch}, {run.context_tokens} context tokens")
            measured = bench.run(run)
            rows += measured.steps if not run.temperature else []
            yield measured
        bar.update(task, completed=budget_s)


def _budget_s(engine: VllmEngine, *, full: bool) -> float:
    """By the target's size, not by a first look at its speed: that would take a busy machine for a large model."""
    folder = folder_of(engine.model)
    large = folder is None or sum(f.stat().st_size for f in folder.glob("*.safetensors")) > LARGE_BYTES
    return (LARGE_BUDGET_S if large else BUDGET_S) * (FULL_FACTOR if full else 1.0)


def _runs(first: list[Run], bench: Bench, rows: list[list[float]], seed: int) -> Iterator[Run]:
    yield from first
    while True:
        yield again(bench.limits, shapes_of(rows), seed + len(rows))


def _certain(rows: list[list[float]]) -> bool:
    return max(s.relative_error for s in shapes_of(rows)) < ENOUGH


def _findings(measured: list[Measured], engine: VllmEngine) -> Findings:
    greedy, sampled = ([row for m in measured if bool(m.run.temperature) == hot for row in m.steps] for hot in (0, 1))
    tried = [t for m in measured if not m.run.temperature for t in m.tried]
    return Findings(greedy, sampled, tried, decisions(engine.k_max), engine.k_max)


def _provenance(args: Namespace, engine: VllmEngine, measured: list[Measured], seconds: float) -> dict[str, Any]:
    return {
        "command": " ".join(["python -m deployments.profile", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": args.seed,
        "engine": engine.model_dump_json(exclude_defaults=True),
        "runs": len(measured),
        "steps": sum(len(m.steps) for m in measured),
        "seconds after the engine was up": round(seconds, 1),
        "load average": ", ".join(f"{load:.1f}" for load in os.getloadavg()),
        "python": platform.python_version(),
        "numpy, scipy": f"{version('numpy')}, {version('scipy')}",
    }


def _say(console: Console, report: dict[str, Any], out: Path) -> None:
    for region, row in report["profile"]["held_out"].items():
        console.print(f"held out, {region}: median error {100 * row['median_ape']:.1f} %, R2 {row['r2']}", markup=False)
    lengths = ", ".join(f"{row['batch']}: {row['best_k']}" for row in report["advice"])
    console.print(f"best static K by batch: {lengths}\nreport: {out / 'report.html'}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
