"""`locust -f loadgen/locustfile.py`: Locust's own web UI, CSV files and workers around the same plan."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from loadgen.run import LOCUSTFILE
from loadgen.scenario import dump
from tests.local.served import free_port, until
from tests.unit.loadgen.scenarios import LENIENT, scenario

NAMES = {"completions fast", "completions slow", "Aggregated"}


@pytest.fixture
def asked(known_url: str, tmp_path: Path) -> list[str]:
    """What every one of the test's processes is told."""
    (tmp_path / "s.yaml").write_text(dump(scenario(check=LENIENT)))
    return ["--scenario", str(tmp_path / "s.yaml"), "--host", known_url, "--out", str(tmp_path)]


@contextmanager
def locust(log: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *words]
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.terminate()


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def test_csv_files_count_the_same_requests(asked: list[str], tmp_path: Path) -> None:
    with locust(tmp_path / "log", *asked, "--headless", "--csv", str(tmp_path / "csv")) as process:
        status = process.wait(60)
    assert status == 0, (tmp_path / "log").read_text()
    rows = {row["Name"]: row for row in csv.DictReader((tmp_path / "csv_stats.csv").open())}
    assert set(rows) == NAMES
    assert int(rows["Aggregated"]["Request Count"]) == result(tmp_path)["total"]["requests"] == 20
    assert int(rows["Aggregated"]["Failure Count"]) == 0
    assert (tmp_path / "csv_stats_history.csv").exists()


def test_a_master_and_a_worker_started_apart(asked: list[str], tmp_path: Path) -> None:
    """As on two hosts: Locust carries the plan's options to the worker and its outcomes back."""
    port = str(free_port())
    bound = ("--master-bind-host", "127.0.0.1", "--master-bind-port", port)
    with (
        locust(tmp_path / "master", *asked, "--headless", "--master", "--expect-workers", "1", *bound) as master,
        locust(tmp_path / "worker", "--worker", "--master-host", "127.0.0.1", "--master-port", port) as worker,
    ):
        statuses = master.wait(60), worker.wait(60)
    assert statuses == (0, 0), (tmp_path / "master").read_text() + (tmp_path / "worker").read_text()
    assert result(tmp_path)["total"]["finished"] == 20


async def test_the_web_ui_starts_a_test_and_another(asked: list[str], tmp_path: Path) -> None:
    """Its form's fields are the plan's; users and spawn rate, which it sends too, change nothing."""
    port, report = free_port(), tmp_path / "report.html"
    with locust(tmp_path / "log", *asked, "--web-host", "127.0.0.1", "--web-port", str(port)):
        await until(lambda: f":{port}" in (tmp_path / "log").read_text(), 60)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as ui:
            start(ui, seed="", rate="1.0")
            await until(lambda: report.exists() and state(ui)["state"] == "stopped", 60)
            first, shown = result(tmp_path), state(ui)
            report.unlink()
            start(ui, seed="5", rate="2.0")
            await until(report.exists, 60)
    second = result(tmp_path)
    assert (first["seed"], first["total"]["finished"]) == (0, 20)
    assert {row["name"]: row["num_requests"] for row in shown["stats"]}["Aggregated"] == 20
    assert (second["seed"], second["total"]["finished"]) == (5, 40)


def start(ui: httpx.Client, **fields: str) -> None:
    answer = ui.post("/swarm", data={"user_count": "7", "spawn_rate": "7", **fields})
    assert answer.json()["success"], answer.text


def state(ui: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = ui.get("/stats/requests").json()
    return found
