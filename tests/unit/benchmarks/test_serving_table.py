import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving import table
from benchmarks.serving.loads import Calibration
from loadgen import results
from loadgen.outcome import Outcome
from loadgen.schedule import build

BASE = Calibration(30.0, 50.0, 90.0, 4.0)
ORIGIN = {"config": {"size": "270m", "window_s": 20}}


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
def out(tmp_path: Path) -> Path:
    ours = {"steps": 100, "decide_s": 0.02, "switches": 30, "k_steps": {"0": 40, "3": 60}, "fallbacks": {"slow": 1}}
    run(tmp_path / "low" / "stock_off" / "0", 0.06, None)
    run(tmp_path / "low" / "slo_goodput" / "0", 0.03, ours)
    return tmp_path


def test_figures_of_an_arm(out: Path) -> None:
    found = table.cells(out)["low"]
    assert list(found) == ["stock_off", "slo_goodput"]
    figures = found["slo_goodput"].figures()
    assert figures["k"] == pytest.approx(300 / (900 - 150))
    assert figures["wasted_share"] == 0.5
    assert (figures["k_steps"], figures["fallbacks"]) == ({"0": 40, "3": 60}, 1)
    assert figures["decide_ms"] == pytest.approx(0.2)
    assert figures["switches_per_min"] == pytest.approx(90, rel=0.1)
    assert figures["by_class"]["urgent"] == 1
    assert found["stock_off"].figures()["by_class"]["urgent"] == 0
    assert figures["tpot_p90_ms"]["urgent"] == pytest.approx(30)
    assert figures["tpot_slo_ms"]["urgent"] == 40


def test_ratios_are_paired_with_the_baseline(out: Path) -> None:
    found = table.ratios(table.cells(out)["low"])
    assert list(found) == ["slo_goodput"]
    assert found["slo_goodput"]["TPOT p50"]["ratio"] == pytest.approx(0.5)
    assert found["slo_goodput"]["goodput"]["ratio"] > 1


def test_the_default_is_held_against_every_other_arm(out: Path) -> None:
    found = table.of_chosen(table.cells(out)["low"])
    assert list(found) == ["stock_off"]
    assert found["stock_off"]["TPOT p50"]["ratio"] == pytest.approx(0.5)


def test_arms_without_a_common_round_are_not_compared(out: Path) -> None:
    (out / "low" / "slo_goodput" / "0").rename(out / "low" / "slo_goodput" / "1")
    row = table.cells(out)["low"]
    assert (table.ratios(row), table.of_chosen(row)) == ({}, {})


def test_loads_come_from_low_to_day_and_recorded_sequences_after_them(out: Path) -> None:
    for load in ("day", "adaspec_code", "high"):
        shutil.copytree(out / "low", out / load)
    assert list(table.cells(out)) == ["low", "high", "day", "adaspec_code"]


def test_an_invalid_run_is_in_no_figure(out: Path) -> None:
    file = out / "low" / "slo_goodput" / "0" / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"valid": False}))
    assert list(table.cells(out)["low"]) == ["stock_off"]


def test_the_page_says_what_it_was_run_on(out: Path) -> None:
    table.write(out, ORIGIN)
    page = (out / "README.md").read_text()
    assert "grown 270m target" in page
    assert page.count("\n| low |") == 4  # two arms, in two tables
    assert "| low | slo_goodput | 100 %, 30 |" in page
    picture = (out / "goodput.svg").read_text()
    assert "<svg" in picture
    titles = [line for line in page.splitlines() if "to every other arm's" in line]
    assert [title.split(" of ")[0] for title in titles] == ["## Goodput", "## Attainment", "## TPOT p90", "## TTFT p90"]
    assert page.count("| arm | low |\n|---|---|\n| stock_off | ") == len(titles)
    table.write(out, ORIGIN)
    assert (out / "goodput.svg").read_text() == picture
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary) == {"figures", "ratios_to_stock_off", "ratios_of_slo_goodput"}
