"""vLLM's own batch-size schedule, tuned on a calibration half: requests of another seed than the measured ones."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

from benchmarks.pair import ROOT
from benchmarks.provenance import provenance
from benchmarks.serving import machine
from benchmarks.serving.arms import Arm
from benchmarks.serving.loads import CLIENTS, closed

TRIED = ("stock_off", "stock_k1", "stock_k3", "stock_k5", "stock_k7")
UPPER = {1: 2, 4: 8, 16: 32}
"""Clients of a closed loop -> the largest batch its finding is used for."""
SEED_SHIFT = 1_000_000


def tuned(out: Path, size: str, core: int, seed: int) -> list[list[int]]:
    """[[lowest batch, highest, K], ...]: the fastest static K at each batch, measured once and kept."""
    file = out / "schedule.json"
    if not file.exists():
        rates = {name: _rates(name, size, core, seed + SEED_SHIFT) for name in TRIED}
        found = {"table": table(rates), "tokens_per_s": rates, "provenance": provenance({"size": size, "seed": seed})}
        out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1) + "\n")
    rows: list[list[int]] = json.loads(file.read_text())["table"]
    return rows


def table(rates: dict[str, dict[int, float]]) -> list[list[int]]:
    """The best K of each range of batches, neighbours with the same K joined."""
    rows, low = [], 1
    for clients, high in UPPER.items():
        best = max(rates, key=lambda name: rates[name][clients])
        rows.append([low, high, 0 if best == "stock_off" else int(best.removeprefix("stock_k"))])
        low = high + 1
    joined = [list(group) for _, group in groupby(rows, key=lambda row: row[2])]
    return [[group[0][0], group[-1][1], group[0][2]] for group in joined]


def _rates(name: str, size: str, core: int, seed: int) -> dict[int, float]:
    work = ROOT / ".bench" / "serving-tune"
    found = {}
    with machine.servers([name], size, [], core) as servers:
        for clients in CLIENTS:
            result = machine.measure(servers[name], Arm(name, name), closed(clients, seed), work / "kept", work / "run")
            found[clients] = float(result["total"]["tokens_per_s"])
    return found
