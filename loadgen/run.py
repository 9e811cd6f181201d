"""`python -m loadgen run`: Locust in a process of its own, watched from this one.

Locust replaces Python's sockets when it is imported, and libraries imported before it may not survive that; a terminal
drawn in its process would delay its sends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from loadgen import page, progress, scenario
from loadgen.complaint import complain, counted, positive, reason
from loadgen.schedule import build

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
REFRESH_S = 0.5
REFUSED, INVALID, FAILED = 2, 3, 4


@dataclass(frozen=True, slots=True)
class Options:
    """Of one run."""

    scenario: str
    url: str
    out: Path
    rate: float = 1.0
    seed: int | None = None
    processes: int = 1
    api_key: str = ""
    locust: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """Locust, headless."""
        found = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
        found += ["--scenario", self.scenario, "--host", self.url.removesuffix("/").removesuffix("/v1")]
        found += ["--out", str(self.out), "--rate", str(self.rate)]
        found += [] if self.seed is None else ["--seed", str(self.seed)]
        found += ["--processes", str(self.processes)] if self.processes > 1 else []
        return [*found, *self.locust]

    def environment(self) -> dict[str, str]:
        """Locust's."""
        return os.environ | ({progress.API_KEY: self.api_key} if self.api_key else {})


def add_arguments(parser: ArgumentParser) -> None:
    """What the command takes."""
    add_target(parser)
    parser.add_argument("--out", type=Path, help="folder for the results; .bench/loadgen/NAME-TIME by default")
    parser.add_argument("--rate", type=positive, default=1.0, help="times the scenario's arrival rate")


def add_target(parser: ArgumentParser) -> None:
    """What every command that sends load takes."""
    parser.add_argument("scenario", help="a YAML file, or a shipped scenario: see loadgen/scenarios")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="any OpenAI-compatible server")
    parser.add_argument("--seed", type=int, help="root seed in place of the scenario's")
    parser.add_argument("--processes", type=counted, default=1, help="Locust workers that share the sending")
    parser.add_argument("--api-key", default="", help=f"sent as a bearer token; {progress.API_KEY} does the same")


def options(args: Namespace, out: Path, rate: float) -> Options:
    """Of parsed arguments."""
    return Options(args.scenario, args.url, out, rate, args.seed, args.processes, args.api_key)


def run(args: Namespace) -> int:
    """0, or 2: refused, 3: the generator's self-check failed, 4: no result."""
    out = args.out or Path(".bench/loadgen") / f"{Path(args.scenario).stem}-{time.strftime('%Y%m%dT%H%M%S')}"
    console = Console()
    try:
        plan = build(scenario.asked(args.scenario, args.rate, args.seed))
    except (ValueError, OSError) as error:
        complain(f"{args.scenario}: {reason(error)}")
        return REFUSED
    console.print(plan.text)
    result = measure(options(args, out, args.rate), console)
    if result is None:
        complain(f"no result: {progress.refusal(out) or 'Locust ended early'}; more in {out / 'locust.log'}")
        return FAILED
    console.print(outcome(result))
    console.print(str(out / "report.html"), markup=False, soft_wrap=True)
    for problem in result["check"]["problems"]:
        console.print(f"INVALID: {problem}", style="bold red", markup=False)
    return 0 if result["valid"] else INVALID


def measure(chosen: Options, console: Console) -> dict[str, Any] | None:
    """One run with a live view; None if Locust ended without a result (its log says why)."""
    chosen.out.mkdir(parents=True, exist_ok=True)
    for stale in ("result.json", progress.FILE, progress.REFUSAL):
        (chosen.out / stale).unlink(missing_ok=True)
    with (chosen.out / "locust.log").open("wb") as log:
        command, environment = chosen.command(), chosen.environment()
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603 - ours
        try:
            with Live(console=console, auto_refresh=False, transient=True) as live:
                while process.poll() is None:
                    live.update(view(chosen, progress.read(chosen.out)), refresh=True)
                    time.sleep(REFRESH_S)
        finally:
            process.terminate()
            process.wait()
    file = chosen.out / "result.json"
    found: dict[str, Any] | None = json.loads(file.read_text()) if file.exists() else None
    return found


def view(chosen: Options, state: dict[str, Any] | None) -> Table:
    """How it stands."""
    grid = Table.grid(padding=(0, 2))
    if state is None:
        grid.add_row(f"{chosen.scenario}: starting", chosen.url)
        return grid
    share = state["finished"] / max(state["planned"], 1)
    bar = "━" * round(30 * share) + "─" * (30 - round(30 * share))
    grid.add_row(chosen.scenario, bar, f"{state['at_s']:.0f} s", f"{state['finished']}/{state['planned']} finished")
    grid.add_row("last 10 s", f"TTFT p50 {page.figure(state['recent_ttft_p50_ms'])} ms")
    grid.add_row("", f"TPOT p50 {page.figure(state['recent_tpot_p50_ms'])} ms", f"{state['recent_tokens_per_s']} tok/s")
    grid.add_row("open", f"{state['due'] - state['finished']} requests due and not answered")
    for kind, count in state["errors"].items():
        grid.add_row("[red]errors", f"{count} x {kind}")
    if state["note"]:
        grid.add_row("note", state["note"])
    return grid


def outcome(result: dict[str, Any]) -> Table:
    """The figures most runs are made for."""
    found = Table("class", *(f"{name} p50/p90/p99 ms" for name in ("TTFT", "TPOT", "ITL", "E2E")))
    for name in ("attainment", "goodput tok/s", "tokens/s", "finished"):
        found.add_column(name, justify="right")
    for name, row in (*result["classes"].items(), ("total", result["total"])):
        found.add_row(name, *_latencies(row), *_shares(row))
    for kind, count in result["errors"].items():
        found.caption = f"{found.caption or 'errors:'} {count} x {kind}"
    return found


def _latencies(row: dict[str, Any]) -> Sequence[str]:
    names = ("ttft_ms", "tpot_ms", "itl_ms", "e2e_ms")
    return [" / ".join(page.figure(row[name][q]) for q in ("p50", "p90", "p99")) for name in names]


def _shares(row: dict[str, Any]) -> Sequence[str]:
    rates = [page.figure(row[name]) for name in ("goodput_tokens_per_s", "tokens_per_s")]
    return [f"{100 * row['attainment']:.1f} %", *rates, f"{row['finished']}/{row['requests']}"]
