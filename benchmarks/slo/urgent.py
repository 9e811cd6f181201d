"""Two classes in one full batch: does the one with the tight TPOT get the verify budget, and does it keep its TPOT?

`python -m benchmarks.slo.urgent` writes benchmarks/results/slo/urgent.json. Virtual time: see virtual.py. Every token
in a step's pass costs time: drafts for everybody slow everybody down. The tight TPOT is below plain decoding's.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from benchmarks.slo import virtual
from benchmarks.slo.fleet import Fleet
from benchmarks.slo.load import Planned, attained, send
from benchmarks.slo.result import write

SEATS, TIGHT, ROUNDS, TOKENS = 16, 3, 3, 120
ENGINE = {"step_ms": 20, "step_token_ms": 0.5, "draft_ms": 1, "acceptance": 0.7, "max_num_seqs": SEATS, "k_max": 5}
PLAIN_MS = 20 + 0.5 * SEATS
TPOT_MS = (20, 16)
POLICIES: dict[str, dict[str, Any]] = {
    "off": {"name": "off"},
    **{f"fixed {k}": {"name": "fixed", "params": {"k": k}} for k in (1, 3, 5)},
    "slo_goodput": {"name": "slo_goodput"},
}


def main() -> None:
    """Every policy at every objective."""
    rows = [
        {"tpot_slo_ms": tpot_ms, "policy": name, **virtual.run(_run(tpot_ms, spec))}
        for tpot_ms in TPOT_MS
        for name, spec in POLICIES.items()
    ]
    write("urgent", {"plain_tpot_ms": PLAIN_MS, "rows": rows}, {"engine": ENGINE, "seats": SEATS, "tight": TIGHT})


async def _run(tpot_ms: float, spec: dict[str, Any]) -> dict[str, Any]:
    classes: list[dict[str, Any]] = [{"name": "tight", "tpot_ms": tpot_ms, "priority": 1}, {"name": "relaxed"}]
    fleet = Fleet(
        ENGINE | {"safe_policy": spec}, {"classes": classes, "admission": False, "default_class": "relaxed"}, {}
    )
    await fleet.start(1)
    counts = {"tight": TIGHT, "relaxed": SEATS - TIGHT}
    plan = [Planned(0.0, of, TOKENS, f"{of} {i}") for of, n in counts.items() for i in range(n)]
    seen = []
    for _ in range(ROUNDS):
        seen += await asyncio.gather(*(send(fleet, planned) for planned in plan))
    fallbacks = await fleet.fallbacks()
    await fleet.stop()
    found = {
        of: [s for s in seen[len(plan) :] if s.planned.of == of] for of in counts
    }  # the first round is for learning
    figures: dict[str, Any] = {
        of: {
            "tpot_p90_ms": round(float(np.percentile([1e3 * s.tpot_s for s in some], 90)), 2),
            "attainment": round(float(np.mean([attained(s, classes) for s in some])), 3),
            "drafted_per_token": round(float(np.mean([s.told["drafted_tokens"] for s in some])) / TOKENS, 3),
        }
        for of, some in found.items()
    }
    return figures | {"policy_fallbacks": fallbacks}


if __name__ == "__main__":
    main()
