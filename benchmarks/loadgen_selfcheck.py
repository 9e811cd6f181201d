"""Does the generator measure what is there? Against a server of known TTFT and token spacing, in its own process.

The generator runs on the cores this process has, the server on the others.

Run: taskset -c 0 python -m benchmarks.loadgen_selfcheck --out benchmarks/results/loadgen_selfcheck
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.pair import ROOT
from benchmarks.provenance import provenance
from loadgen import run as runner
from loadgen.scenario import Scenario, dump

TTFT_MS, GAP_MS, TOKENS = 100.0, 20.0, 16
RELATIVE, LAG_MS = 0.05, 10.0


def cores() -> tuple[list[int], list[int]]:
    """The generator's, and the server's: all that are left, or all where none is."""
    mine, every = sorted(os.sched_getaffinity(0)), list(range(os.cpu_count() or 1))
    return mine, [core for core in every if core not in mine] or every


def measure(rps: float, seconds: float, work: Path) -> dict[str, Any]:
    """One rate; the server is started for it. Raises RuntimeError if the generator gave no result."""
    pin = ["taskset", "-c", ",".join(map(str, cores()[1]))]
    command = [*pin, sys.executable, "-m", "tests.unit.loadgen.known_server"]
    command += ["--ttft-ms", str(TTFT_MS), "--gap-ms", str(GAP_MS)]
    scenario = Scenario.model_validate(
        {
            "name": f"known-{rps:g}",
            "duration_s": seconds,
            "arrivals": {"kind": "poisson", "rps": rps},
            "output": {"mean_tokens": TOKENS, "cv": 0},
            "metrics_every_s": None,
        }
    )
    work.mkdir(parents=True, exist_ok=True)
    (work / "asked.yaml").write_text(dump(scenario))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        port = "" if server.stdout is None else server.stdout.readline().strip()
        chosen = runner.Options(str(work / "asked.yaml"), f"http://127.0.0.1:{port}", work)
        result = runner.measure(chosen, Console())
        server.terminate()
    if result is None:
        raise RuntimeError(f"no result: see {work / 'locust.log'}")
    return judge(rps, result)


def judge(rps: float, result: dict[str, Any]) -> dict[str, Any]:
    """The medians' errors and the lag, against the goals."""
    total, lag = result["total"], result["check"]["send_lag_ms"]
    ttft, tpot = total["ttft_ms"]["p50"] / TTFT_MS - 1, total["tpot_ms"]["p50"] / GAP_MS - 1
    e2e = total["e2e_ms"]["p50"] / (TTFT_MS + (TOKENS - 1) * GAP_MS) - 1
    met = max(abs(ttft), abs(tpot), abs(e2e)) <= RELATIVE and lag["p99"] < LAG_MS and not result["errors"]
    return {
        "rps": rps,
        "requests": total["requests"],
        "ttft_error": ttft,
        "tpot_error": tpot,
        "e2e_error": e2e,
        "send_lag_ms": lag,
        "rate_error": result["check"]["rate_error"],
        "itl_ms": total["itl_ms"],
        "errors": result["errors"],
        "met": met,
    }


def main(argv: list[str] | None = None) -> int:
    """1 if a goal was missed at any rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=[20, 100, 200])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--out", type=Path, help="folder for result.json")
    args = parser.parse_args(argv)
    work = ROOT / ".bench" / "selfcheck"
    rows = [measure(rps, args.seconds, work / f"{rps:g}") for rps in args.rates]
    for row in rows:
        print(
            f"{row['rps']:6g} rps: TTFT {100 * row['ttft_error']:+.1f} %, TPOT {100 * row['tpot_error']:+.1f} %, "
            f"E2E {100 * row['e2e_error']:+.1f} %, send lag p99 {row['send_lag_ms']['p99']:.2f} ms: "
            f"{'met' if row['met'] else 'MISSED'}"
        )
    if args.out:
        origin = provenance(vars(args) | dict(zip(("generator_cores", "server_cores"), cores(), strict=True)))
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "result.json").write_text(json.dumps(rows, indent=1) + "\n")
        (args.out / "provenance.json").write_text(json.dumps(origin, indent=1) + "\n")
    return int(not all(row["met"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
