"""The whole way: `python -m loadgen run` starts Locust, which sends, measures and reports."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadgen.scenario import dump
from tests.unit.loadgen.conftest import GAP_MS, TTFT_MS
from tests.unit.loadgen.scenarios import scenario


def run(url: str, folder: Path, *more: str) -> tuple[int, dict[str, Any]]:
    spec = scenario(check={"send_lag_p99_ms": 2000, "rate_error": 2})  # a busy machine must not fail this test
    (folder / "s.yaml").write_text(dump(spec))
    command = [sys.executable, "-m", "loadgen", "run", str(folder / "s.yaml"), "--url", url, "--out", str(folder)]
    done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
    log = folder / "locust.log"
    assert (folder / "result.json").exists(), done.stderr + (log.read_text() if log.exists() else "")
    return done.returncode, json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("processes", ["1", "2"])
def test_known_timing_comes_out(known_url: str, tmp_path: Path, processes: str) -> None:
    status, result = run(known_url, tmp_path, "--processes", processes)
    assert status == 0
    assert result["total"]["finished"] == result["total"]["requests"] == 20
    assert result["total"]["tpot_ms"]["p50"] == pytest.approx(GAP_MS, rel=0.3)
    assert TTFT_MS - 1 <= result["total"]["ttft_from_send_ms"]["p50"] < 5 * TTFT_MS
    assert result["over_time"]["k"]
    assert "completions fast" in (tmp_path / "locust.log").read_text()  # Locust counted them too


def test_a_bad_scenario_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("name: x\narrivals: {kind: tidal}\n")
    command = [sys.executable, "-m", "loadgen", "run", str(tmp_path / "s.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "tidal" in done.stderr
