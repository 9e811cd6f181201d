import json
import shutil
from pathlib import Path

import pytest

from benchmarks.serving import finished


def test_figures_of_an_arm(finished_runs: Path) -> None:
    found = finished.cells(finished_runs)["low"]
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


def test_ratios_are_paired_with_the_baseline(finished_runs: Path) -> None:
    found = finished.ratios(finished.cells(finished_runs)["low"])
    assert list(found) == ["slo_goodput"]
    assert found["slo_goodput"]["TPOT p50"]["ratio"] == pytest.approx(0.5)
    assert found["slo_goodput"]["goodput"]["ratio"] > 1


def test_the_default_is_held_against_every_other_arm(finished_runs: Path) -> None:
    found = finished.of_chosen(finished.cells(finished_runs)["low"])
    assert list(found) == ["stock_off"]
    assert found["stock_off"]["TPOT p50"]["ratio"] == pytest.approx(0.5)


def test_arms_without_a_common_round_are_not_compared(finished_runs: Path) -> None:
    (finished_runs / "low" / "slo_goodput" / "0").rename(finished_runs / "low" / "slo_goodput" / "1")
    row = finished.cells(finished_runs)["low"]
    assert (finished.ratios(row), finished.of_chosen(row)) == ({}, {})


def test_loads_come_from_low_to_day_and_recorded_sequences_after_them(finished_runs: Path) -> None:
    for load in ("day", "adaspec_code", "high"):
        shutil.copytree(finished_runs / "low", finished_runs / load)
    assert list(finished.cells(finished_runs)) == ["low", "high", "day", "adaspec_code"]


def test_an_invalid_run_is_in_no_figure(finished_runs: Path) -> None:
    file = finished_runs / "low" / "slo_goodput" / "0" / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"valid": False}))
    assert list(finished.cells(finished_runs)["low"]) == ["stock_off"]
