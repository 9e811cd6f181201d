from pathlib import Path

import pytest

from loadgen.progress import RECENT_S, WRITE_EVERY_S, Progress, read
from loadgen.schedule import build
from tests.unit.loadgen.scenarios import outcome, scenario

PLAN = build(scenario(duration_s=60))


@pytest.fixture
def progress(tmp_path: Path) -> Progress:
    return Progress(PLAN, tmp_path)


def test_a_state_is_written_whole_and_read_back(progress: Progress, tmp_path: Path) -> None:
    progress.add(outcome(0, 0.0))
    progress.add(outcome(1, 0.1, error="http 429"))
    progress.write(0.5)
    state = read(tmp_path)
    assert state is not None
    assert (state["finished"], state["tokens"], state["errors"]) == (2, 10, {"http 429": 1})
    assert state["recent_ttft_p50_ms"] == pytest.approx(100)
    assert state["recent_tpot_p50_ms"] == pytest.approx(10)


def test_nothing_was_written_before_the_first_state(tmp_path: Path) -> None:
    assert read(tmp_path) is None


def test_the_rate_is_of_the_last_ten_seconds(progress: Progress) -> None:
    """A hundred tokens/s for a minute, then ten."""
    seconds, tokens = 0.0, {True: 100.0, False: 10.0}
    for step in range(240):
        for _ in range(round(tokens[step < 120] * WRITE_EVERY_S / 5)):
            progress.add(outcome(step, seconds))
        seconds += WRITE_EVERY_S
        progress.write(seconds)
    assert progress.state(seconds)["recent_tokens_per_s"] == pytest.approx(10, rel=0.1)


def test_a_silence_longer_than_what_is_recent_leaves_no_median(progress: Progress) -> None:
    progress.add(outcome(0, 0.0))
    assert progress.state(1 + RECENT_S)["recent_ttft_p50_ms"] is None
