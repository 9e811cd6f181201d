"""Stock vLLM and our engine under the same loads, run by run; a finished run is not run again.

    python -m benchmarks.serving --size 270m                              # everything: three hours and more
    python -m benchmarks.serving --size 270m --loads middle day --arms stock_off off slo_goodput --minutes 10
    make bench-full TRACES=FOLDER                                         # the recorded sequences in FOLDER instead

The servers get the last core this process may use (`taskset -c N` picks it), the generator the others of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pair import ROOT
from benchmarks.provenance import provenance
from benchmarks.servers import Server
from benchmarks.serving import finished, machine, pace, table
from benchmarks.serving.arms import ARMS, TUNED, Arm
from benchmarks.serving.calibrate import BASE, Elsewhere, calibrate, kept, require_ours
from benchmarks.serving.loads import LOADS, Calibration, replay
from benchmarks.serving.tune import tuned
from loadgen.scenario import Scenario

TRIES = 3  # of a run that is not believed, before the next one
SPARE_S = 30.0  # a window's answers that come after it, and Locust's start and end


@dataclass(frozen=True)
class Job:
    """One run to come."""

    arm: Arm
    scenario: Scenario
    out: Path

    @property
    def done(self) -> bool:
        """Finished and believed; an invalid one, or one whose core others used or slowed, is run again."""
        file = self.out / "engine.json"
        if not file.exists() or json.loads(file.read_text())["foreign_share"] > finished.MOST_FOREIGN:
            return False
        if pace.slowed(self.out):
            return False
        return bool(json.loads((self.out / "result.json").read_text())["valid"])


def jobs(args: argparse.Namespace, base: Calibration, out: Path) -> Iterator[Job]:
    """Round by round, load by load; the arms' order is rotated, their requests are the same."""
    chosen = [arm for arm in ARMS if arm.name in args.arms]
    for round_ in range(args.rounds):
        for i, scenario in enumerate(scenarios(args, base, args.seed + round_)):
            shift = (round_ + i) % len(chosen)
            for arm in chosen[shift:] + chosen[:shift]:
                yield Job(arm, scenario, out / scenario.name / arm.name / str(round_))


def scenarios(args: argparse.Namespace, base: Calibration, seed: int) -> list[Scenario]:
    """Windows of the named loads, and the recorded sequences where their folder is given."""
    files = sorted(args.traces.glob("*.csv")) if args.traces else []
    recorded = [path for path in files if path.stem.startswith("adaspec_") or path.stem.endswith("_code")]
    made = [base.scenario(load, args.window_s, seed) for load in args.loads]
    return made + [replay(path, args.window_s, seed, base) for path in recorded]


def engines(args: argparse.Namespace, base: Calibration | None, out: Path) -> list[str]:
    """Those with a run to make: none where only the page is to be written again."""
    if base is None:
        return [*dict.fromkeys([BASE.engine, *(a.engine for a in ARMS if a.name in args.arms)])]
    return [*dict.fromkeys(job.arm.engine for job in jobs(args, base, out) if not job.done)]


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    names = [arm.name for arm in ARMS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="270m", choices=("30m", "270m"), help="the grown target")
    parser.add_argument("--arms", nargs="+", default=names, choices=names, metavar="ARM", help=", ".join(names))
    parser.add_argument("--loads", nargs="*", default=list(LOADS), choices=LOADS)
    parser.add_argument("--traces", type=Path, help="folder of adaspec_*.csv and Azure's files: adds replays")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window-s", type=float, default=45)
    parser.add_argument("--minutes", type=float, default=180, help="start no run that would end later")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "serving")
    parser.add_argument("--rates", type=Path, help="results whose calibration and schedule to take; default: --out")
    return parser.parse_args(argv)


def run(job: Job, server: Server, work: Path, core: pace.Pace, latest_s: float) -> None:
    """One run, begun by `latest_s`, and its line; how slow the core was before and after is kept with it."""
    before = core.wait(latest_s)
    result = machine.measure(server, job.arm, job.scenario, job.out, work)
    pace.keep(job.out, [before, core.slowness()])
    total, state, slowed = result["total"], "" if result["valid"] else "  INVALID", pace.slowed(job.out)
    state += f"  SLOWED {slowed:.2f}" if slowed else ""
    print(
        f"{job.scenario.name:<28}{job.arm.name:<15}goodput {total['goodput_tokens_per_s']:7.1f} tok/s  "
        f"attainment {total['attainment']:.2f}  TPOT p90 {total['tpot_ms']['p90'] or 0:.1f} ms{state}",
        flush=True,
    )


def measured(args: argparse.Namespace, needed: list[str], schedule: list[list[int]], deadline_s: float) -> int:
    """Runs what is not finished and ends before the deadline; how many runs are left."""
    out, rates, work = args.out / args.size, rates_of(args), ROOT / ".bench" / "serving"
    core, others = machine.cores()
    left = 0
    with machine.servers(needed, args.size, schedule, core) as servers:
        os.sched_setaffinity(0, others)
        base = kept(rates) or calibrate(servers, rates, work, args.seed)
        own = pace.Pace.of(rates, pace.of_core(core))
        for job in jobs(args, base, out):
            latest_s = deadline_s - job.scenario.duration_s - SPARE_S
            for _ in range(TRIES):
                if not job.done and time.monotonic() <= latest_s:
                    run(job, servers[job.arm.engine], work, own, latest_s)
            left += not job.done
    return left


def rates_of(args: argparse.Namespace) -> Path:
    """The folder of the rates and of the tuned schedule."""
    folder: Path = (args.rates or args.out) / args.size
    return folder


def main(argv: list[str] | None = None) -> int:
    """Runs what is not finished, then writes the page. 1 if something is left to run, 2 on another machine."""
    args = parse(argv)
    deadline_s = time.monotonic() + 60 * args.minutes
    out, rates = args.out / args.size, rates_of(args)
    base, (core, others) = kept(rates), machine.cores()
    needed = engines(args, base, out)
    try:
        if base and needed:
            require_ours(rates)
    except Elsewhere as error:
        sys.stderr.write(f"{error}\n")
        return 2
    schedule = tuned(rates, args.size, core, args.seed) if TUNED in args.arms else []
    left = measured(args, needed, schedule, deadline_s) if needed else 0
    used = {"server_core": core, "generator_cores": others, "schedule": schedule}
    table.write(out, provenance({key: value for key, value in vars(args).items() if key != "out"} | used))
    print(f"{left} runs left" if left else f"complete: {out / 'README.md'}")
    return int(left > 0)


if __name__ == "__main__":
    sys.exit(main())
