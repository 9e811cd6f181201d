"""What plain decoding does on this machine: the rates and objectives of every load follow from it."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from benchmarks.provenance import machine as this_machine
from benchmarks.provenance import provenance
from benchmarks.servers import Server
from benchmarks.serving import machine
from benchmarks.serving.arms import ARMS
from benchmarks.serving.loads import CLIENTS, Calibration, closed

BASE = ARMS[0]
FILE = "calibration.json"


class Elsewhere(ValueError):
    """Rates of another machine: they would be another load here, and its runs would stand in one table with ours."""


def kept(rates: Path) -> Calibration | None:
    """Measured once a size, so that a resumed benchmark goes on at the same rates."""
    file = rates / FILE
    return Calibration(**json.loads(file.read_text())["figures"]) if file.exists() else None


def require_ours(rates: Path) -> None:
    """Raises `Elsewhere` where the rates kept in this folder are not this machine's."""
    then = json.loads((rates / FILE).read_text())["provenance"]["machine"]
    if then != this_machine():
        raise Elsewhere(f"{rates / FILE} was measured on {then}, this is {this_machine()}: name a folder with --out")


def calibrate(servers: dict[str, Server], rates: Path, work: Path, seed: int) -> Calibration:
    """Closed loops against stock vLLM without speculation."""
    found = {}
    for clients in CLIENTS:
        result = machine.measure(servers[BASE.engine], BASE, closed(clients, seed), work / "kept", work / "run")
        total = result["total"]
        found[clients] = (total["tpot_ms"]["p50"], total["finished"] / result["wall_s"])
        Console().print(f"{clients} clients: TPOT p50 {found[clients][0]:.1f} ms, {found[clients][1]:.2f} requests/s")
    (alone, _), (middle, _), (high, rps) = found.values()
    base = Calibration(alone, middle, high, rps)
    whole = {"figures": base.to_json(), "provenance": provenance({"seed": seed, "clients": list(CLIENTS)})}
    rates.mkdir(parents=True, exist_ok=True)
    (rates / FILE).write_text(json.dumps(whole, indent=1) + "\n")
    return base
