"""The whole way: `python -m loadgen run` starts Locust, which sends, measures and reports."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadgen.scenario import dump
from tests.unit.loadgen.conftest import GAP_MS, TTFT_MS, known_server
from tests.unit.loadgen.known_server import post
from tests.unit.loadgen.scenarios import LENIENT, scenario


def start(url: str, folder: Path, *more: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    (folder / "s.yaml").write_text(dump(scenario(check=LENIENT, **changes)))
    command = [sys.executable, "-m", "loadgen", "run", str(folder / "s.yaml"), "--url", url, "--out", str(folder)]
    return subprocess.run([*command, *more], capture_output=True, text=True, check=False, timeout=120)


def run(url: str, folder: Path, *more: str, **changes: Any) -> tuple[int, dict[str, Any]]:
    done = start(url, folder, *more, **changes)
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


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_server_that_does_not_answer_is_measured_not_the_generator(
    known_url: str, tmp_path: Path, processes: str
) -> None:
    """What is in flight at the end was sent: the run is valid and nothing attained."""
    post(known_url, "/hold")
    try:
        status, result = run(known_url, tmp_path, "--processes", processes, drain_s=1.0, metrics_every_s=None)
    finally:
        post(known_url, "/release")
    assert (status, result["valid"]) == (0, True)
    assert result["errors"] == {"unfinished": 20}
    assert result["total"]["attainment"] == 0


def test_a_key_goes_out_with_every_request_and_into_no_file(tmp_path: Path) -> None:
    with known_server("--key", "sk-secret") as url:
        status, result = run(url, tmp_path, "--api-key", "sk-secret")
        refused = start(url, tmp_path)
    assert status == 0
    assert result["total"]["finished"] == 20
    assert result["over_time"]["k"]  # /metrics was read
    assert all(b"sk-secret" not in path.read_bytes() for path in tmp_path.iterdir())
    assert refused.returncode == 4
    assert "/v1/models answered 401" in refused.stderr


def test_no_server_is_said_and_not_waited_for(tmp_path: Path) -> None:
    done = start("http://127.0.0.1:9", tmp_path, "--processes", "2")
    assert done.returncode == 4
    assert "refused" in done.stderr
    assert "locust.log" in done.stderr


def test_a_server_slow_to_list_its_models_is_waited_for(tmp_path: Path) -> None:
    """Locust asks every second whether the test is over while it still begins."""
    with known_server("--models-s", "2.5") as url:
        status, result = run(url, tmp_path)
    assert (status, result["total"]["finished"]) == (0, 20)


def test_a_closed_loop_has_no_rate(tmp_path: Path) -> None:
    closed = {"kind": "closed", "clients": 1, "requests": 1}
    done = start("http://127.0.0.1:9", tmp_path, "--rate", "2", arrivals=closed)
    assert done.returncode == 2
    assert "closed loop has no rate" in done.stderr


def test_a_bad_scenario_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("name: x\nsedd: 1\narrivals: {kind: tidal}\n")
    command = [sys.executable, "-m", "loadgen", "run", str(tmp_path / "s.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "arrivals: {'kind': 'tidal'} refused" in done.stderr
    assert "sedd: no such field; did you mean seed?" in done.stderr
