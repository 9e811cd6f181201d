"""Every policy in every cell: `python -m benchmarks.scoreboard [--seeds 5] [--policies slo_goodput,off] [--again]`.

Resumable: a result that is there is not computed again unless `--again` names its policy by `--policies`. Seeds are the
outermost loop, so an interrupted run is a smaller scoreboard, not half of one. The table is written at the end.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks.cells import Cell, cells, policies, scenario
from benchmarks.provenance import provenance
from benchmarks.scoreboard_table import markdown
from loadgen.sim.fleet import Simulation
from loadgen.sim.report import summary
from loadgen.sim.workload import draw

HERE = Path(__file__).parent / "results" / "scoreboard"
Results = dict[str, dict[str, Any]]
"""Policy -> seed -> numbers."""


def main() -> None:
    """Run what is missing, then write the table."""
    args = _arguments()
    started = time.process_time()
    chosen = args.policies.split(",") if args.policies else list(policies())
    todo = [(seed, cell) for seed in range(args.seeds) for cell in cells()]
    if args.again:
        _forget(chosen)
    for seed, cell in track(todo, description="scoreboard", disable=not sys.stderr.isatty()):
        _fill(cell, seed, chosen)
    results = {cell: json.loads(_path(cell).read_text()) for cell in cells() if _path(cell).exists()}
    (HERE / "README.md").write_text(markdown(results))
    cpu_s = time.process_time() - started
    _log(provenance({"seeds": args.seeds, "policies": chosen, "again": args.again, "cpu_s": round(cpu_s, 1)}))


def _arguments() -> Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--policies", help="comma-separated labels; default: all")
    parser.add_argument("--again", action="store_true", help="forget what is known of these policies first")
    return parser.parse_args()


def _path(cell: Cell) -> Path:
    return HERE / f"{cell.name}.json"


def _forget(chosen: list[str]) -> None:
    for path in (_path(cell) for cell in cells()):
        if path.exists():
            _write(path, {name: seeds for name, seeds in json.loads(path.read_text()).items() if name not in chosen})


def _fill(cell: Cell, seed: int, chosen: list[str]) -> None:
    path = _path(cell)
    known: Results = json.loads(path.read_text()) if path.exists() else {}
    specs = policies()
    missing = [name for name in chosen if str(seed) not in known.get(name, {})]
    if not missing:
        return
    work = draw(scenario(cell, seed, specs["off"]))
    for name in missing:
        done = Simulation(scenario(cell, seed, specs[name]), work).run()
        known.setdefault(name, {})[str(seed)] = _numbers(summary(done))
    _write(path, known)


def _numbers(found: dict[str, Any]) -> dict[str, Any]:
    total, speculation = found["total"], found["speculation"]
    return {
        "goodput": round(total["goodput_tokens_per_s"], 2),
        "tokens_per_s": round(total["tokens_per_s"], 2),
        "attainment": round(total["attainment"], 4),
        "by_class": {name: round(c["attainment"], 4) for name, c in found["classes"].items()},
        "tpot_p50_p90_ms": [total["tpot_ms"]["p50"], total["tpot_ms"]["p90"]],
        "ttft_p90_ms": total["ttft_ms"]["p90"],
        "requests": total["requests"],
        "mean_k": round(speculation["mean_k"], 3),
        "mean_batch": round(speculation["mean_batch"], 2),
        "switches_per_minute": round(speculation["switches_per_minute"], 1),
        "wasted_per_token": round(speculation["wasted_draft_tokens"] / max(speculation["accepted_tokens"], 1), 3),
        "faults": found["faults"],
    }


def _write(path: Path, results: Results) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, separators=(",", ":")))


def _log(entry: dict[str, Any]) -> None:
    """One line a run: a resumed scoreboard has several."""
    with (HERE / "provenance.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    main()
