import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving.loads import Calibration
from loadgen import results
from loadgen.outcome import Outcome
from loadgen.schedule import build

BASE = Calibration(30.0, 50.0, 90.0, 4.0)


def run(folder: Path, tpot_s: float, ours: dict[str, Any] | None) -> None:
    plan = build(BASE.scenario("low", 20, 0))
    found = []
    for r in plan.requests:
        chunks = tuple(r.at_s + 0.2 + i * tpot_s for i in range(20))
        found.append(Outcome(r.id, r.slo_class, r.at_s, r.at_s, chunks, chunks[-1], 9, 20, status=200))
    counters = {"generation_tokens_total": 900.0, "spec_decode_num_draft_tokens_total": 300.0}
    counters["spec_decode_num_accepted_tokens_total"] = 150.0
    results.record(folder, plan, found, [{"at_s": 0.0}, {"at_s": 20.0} | counters])
    before: dict[str, Any] | None = None if ours is None else dict.fromkeys(ours, 0) | {"k_steps": {}, "fallbacks": {}}
    engine = {
        "arm": folder.parent.name,
        "policy": ours,
        "server_cpu_s": 9.0,
        "foreign_share": 0.02,
        "before": before,
        "after": ours,
    }
    (folder / "engine.json").write_text(json.dumps(engine))


@pytest.fixture
def finished_runs(tmp_path: Path) -> Path:
    ours = {"steps": 100, "decide_s": 0.02, "switches": 30, "k_steps": {"0": 40, "3": 60}, "fallbacks": {"slow": 1}}
    run(tmp_path / "low" / "stock_off" / "0", 0.06, None)
    run(tmp_path / "low" / "slo_goodput" / "0", 0.03, ours)
    return tmp_path
