"""A run's folder: what was asked, what came back, what it means."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadgen import counters, scenario
from loadgen.outcome import Outcome, unfinished
from loadgen.page import page
from loadgen.provenance import provenance
from loadgen.schedule import Schedule
from loadgen.summary import summary
from loadgen.table import Table, table

PACKAGES = ("locust", "gevent", "geventhttpclient", "numpy", "scipy", "pydantic")
COLUMNS = (
    "id",
    "slo_class",
    "at_s",
    "sent_s",
    "first_s",
    "end_s",
    "ttft_ms",
    "tpot_ms",
    "e2e_ms",
    "prompt_tokens",
    "output_tokens",
    "attained",
    "error",
)


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run, read back."""

    folder: Path
    scenario: scenario.Scenario
    result: dict[str, Any]
    table: Table


def write(
    out: Path,
    schedule: Schedule,
    outcomes: Sequence[Outcome],
    samples: Sequence[counters.Sample],
    command: list[str],
) -> None:
    """scenario.yaml, requests.jsonl, requests.csv, counters.jsonl, result.json, provenance.json and report.html."""
    spec = schedule.scenario
    record(out, schedule, outcomes, samples)
    run = read(out)
    origin = provenance([Path(command[0]).name, *command[1:]], spec.seed, PACKAGES)
    _csv(out / "requests.csv", run.table)
    (out / "provenance.json").write_text(json.dumps(origin, indent=1) + "\n")
    (out / "report.html").write_text(page(spec, run.result, run.table, origin))


def record(out: Path, schedule: Schedule, outcomes: Sequence[Outcome], samples: Sequence[counters.Sample]) -> None:
    """What `read` reads; a planned request without an outcome is unfinished."""
    seen = {o.id for o in outcomes}
    every = [*outcomes, *(unfinished(r, r.at_s) for r in schedule.requests if r.id not in seen)]
    out.mkdir(parents=True, exist_ok=True)
    (out / "scenario.yaml").write_text(scenario.dump(schedule.scenario))
    _lines(out / "requests.jsonl", [o.to_json() for o in sorted(every, key=lambda o: o.id)])
    _lines(out / "counters.jsonl", samples)
    (out / "result.json").write_text(json.dumps(summary(schedule, every, samples), indent=1) + "\n")


def read(folder: Path) -> Run:
    """A run's folder.

    Raises:
        ValueError: not the folder of a finished run.
    """
    if not (folder / "result.json").exists():
        raise ValueError(f"{folder}: no finished run (result.json is missing)")
    spec = scenario.load(str(folder / "scenario.yaml"))
    lines = (folder / "requests.jsonl").read_text().splitlines()
    outcomes = [Outcome.of_json(json.loads(line)) for line in lines]
    result = json.loads((folder / "result.json").read_text())
    return Run(folder, spec, result, table(outcomes, {c.name: c for c in spec.classes}))


def _lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _csv(path: Path, rows: Table) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(zip(*(getattr(rows, name) for name in COLUMNS), strict=True))
