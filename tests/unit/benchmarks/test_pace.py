import os
import time
from pathlib import Path

import pytest

from benchmarks.serving.pace import Pace, of_core, work_ms


def test_a_folder_keeps_its_first_pace(tmp_path: Path) -> None:
    """The best of five: one that was disturbed is no reference."""
    first = iter([12.0, 10.0, 11.0, 30.0, 10.5])
    assert Pace.of(tmp_path / "new", lambda: next(first)).reference_ms == 10.0
    assert Pace.of(tmp_path / "new", lambda: 20.0).slowness() == 2.0


def test_a_slow_core_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    paces = iter([15.0, 13.0, 10.4])
    assert Pace(10.0, lambda: next(paces)).wait(time.monotonic() + 60, pause_s=0) == pytest.approx(1.04)
    assert capsys.readouterr().out == "the core takes 1.50 times what it took at first: waiting\n"


def test_not_for_ever() -> None:
    assert Pace(10.0, lambda: 15.0).wait(time.monotonic(), pause_s=0) == 1.5


def test_the_work_takes_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.serving.pace.PASSES", 2)
    assert work_ms() > 0


def test_it_is_timed_in_a_process_of_its_own() -> None:
    assert of_core(min(os.sched_getaffinity(0)))() > 0
