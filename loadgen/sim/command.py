"""`python -m loadgen sim`: run a scenario, write its numbers and its page."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from loadgen.complaint import complain
from loadgen.provenance import provenance
from loadgen.sim.fleet import Simulation
from loadgen.sim.page import page
from loadgen.sim.report import summary
from loadgen.sim.scenario import Scenario, load
from policies.registry import PolicyError, PolicySpec


def add_arguments(parser: ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("scenario", type=Path, help="scenario YAML")
    parser.add_argument("--out", type=Path, required=True, help="folder for result.json, provenance.json, report.html")
    parser.add_argument("--policy", help="run this policy, with its defaults, in place of the scenario's")
    parser.add_argument("--seed", type=int, help="root seed in place of the scenario's")


def run(args: Namespace) -> int:
    """Returns the exit status: 0, or 2 where the scenario or the policy is refused."""
    try:
        scenario = _scenario(args)
        done = Simulation(scenario)
    except (ValidationError, PolicyError, ValueError, OSError) as error:
        complain(f"{args.scenario}: {error}")
        return 2
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    _with_progress(done)
    _write(done, args.out, time.perf_counter() - wall_s, time.process_time() - cpu_s)
    return 0


def _scenario(args: Namespace) -> Scenario:
    scenario = load(args.scenario)
    changes: dict[str, object] = {}
    if args.policy is not None:
        changes["policy"] = PolicySpec(name=args.policy)
    if args.seed is not None:
        changes["seed"] = args.seed
    return scenario.model_copy(update=changes)


def _with_progress(done: Simulation) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(f"{done.scenario.name} ({done.scenario.policy.name})", total=len(done.work))
        done.run(lambda finished: bar.update(task, completed=finished))


def _write(done: Simulation, out: Path, wall_s: float, cpu_s: float) -> None:
    numbers = summary(done)
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_text(json.dumps(numbers, indent=1))
    origin = provenance(["python -m loadgen", *sys.argv[1:]], done.scenario.seed)
    steps = numbers["speculation"]["steps"]
    speed = {"wall_s": round(wall_s, 2), "cpu_s": round(cpu_s, 2), "steps_per_cpu_s": round(steps / max(cpu_s, 1e-9))}
    (out / "provenance.json").write_text(json.dumps(origin | speed, indent=1))
    (out / "report.html").write_text(page(done, numbers))
    total = numbers["total"]
    Console().print(
        f"attainment {total['attainment']:.3f}, goodput {total['goodput_tokens_per_s']:.1f} tokens/s, "
        f"{steps} steps in {cpu_s:.1f} s of CPU; {out / 'report.html'}"
    )
