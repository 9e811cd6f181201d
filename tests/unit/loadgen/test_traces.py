import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.sim.rng import generator
from loadgen.traces import Replay, _scaled, read

RNG = generator(0, "copies")


@pytest.fixture
def azure(tmp_path: Path) -> Path:
    path = tmp_path / "azure.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:17:03.9799600,4808,10\n"
        "2023-11-16 18:17:05.9799600,80,8\n"
        "2023-11-16 18:17:09.9799600,90,9\n"
    )
    return path


def test_seconds_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "adaspec.csv"
    path.write_text("Timestamp\n7.5\n5.0\n6.0\n")
    at, tokens = read(Replay(path=path, speed=2), RNG)
    assert at == pytest.approx([0, 0.5, 1.25])
    assert tokens is None


def test_dates_and_lengths(azure: Path) -> None:
    at, tokens = read(Replay(path=azure), RNG)
    assert at == pytest.approx([0, 2, 6])
    assert tokens is not None
    assert tokens.tolist() == [[4808, 10], [80, 8], [90, 9]]


def test_a_window_starts_at_zero(azure: Path) -> None:
    at, tokens = read(Replay(path=azure, start_s=1, window_s=4), RNG)
    assert at == pytest.approx([1])
    assert tokens is not None
    assert tokens.tolist() == [[80, 8]]
    with pytest.raises(ValueError, match=r"start_s: 100\.0"):
        read(Replay(path=azure, start_s=100), RNG)


def test_mooncake_and_burstgpt(tmp_path: Path) -> None:
    mooncake, burst = tmp_path / "mooncake.jsonl", tmp_path / "burst.csv"
    rows = [{"timestamp": t, "input_length": 7, "output_length": 3, "hash_ids": [1]} for t in (1000, 4000)]
    mooncake.write_text("\n".join(map(json.dumps, rows)))
    burst.write_text("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,7,3,10,API\n")
    at, tokens = read(Replay(path=mooncake), RNG)
    assert at == pytest.approx([0, 3])
    assert tokens is not None
    assert tokens.tolist() == [[7, 3], [7, 3]]
    at, tokens = read(Replay(path=burst), RNG)
    assert tokens is not None
    assert (at.tolist(), tokens.tolist()) == ([0], [[7, 3]])


@settings(deadline=None)
@given(st.floats(0.05, 4), st.integers(0, 99))
def test_the_rate_scale_keeps_order_span_and_lengths(copies: float, seed: int) -> None:
    at = np.cumsum(generator(seed, "gaps").exponential(1, 400))
    tokens = np.stack([at, at], axis=1)
    scaled, kept = _scaled(at, tokens, copies, generator(seed, "copies"))
    assert len(scaled) == pytest.approx(400 * copies, abs=60)
    assert (np.diff(scaled) >= 0).all()
    assert kept is not None
    assert (np.isin(kept[:, 0], at)).all()
    assert scaled[0] >= at[0]
    assert scaled[-1] <= at[-1]


def test_times_with_and_without_a_zone_are_on_one_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's files of 2024; a whole second has no fraction."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    path = tmp_path / "azure2024.csv"
    times = ("2024-05-10 00:00:00.009930+00:00", "2024-05-10 00:00:01+00:00", "2024-05-10 00:00:02.50993")
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(f"{at},4,5\n" for at in times))
    assert read(Replay(path=path), RNG)[0] == pytest.approx([0, 0.99007, 2.5])
    monkeypatch.undo()
    time.tzset()


def test_the_time_is_found_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "mooncake.jsonl"
    path.write_text('{"hash_ids": [1], "timestamp": 1000}\n{"timestamp": 3000, "hash_ids": []}\n')
    assert read(Replay(path=path), RNG)[0] == pytest.approx([0, 2])


def test_a_bad_trace_names_the_value(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("Timestamp\nsoon\n")
    with pytest.raises(ValueError, match="'soon' is neither"):
        read(Replay(path=path), RNG)
    path.write_text("Timestamp,ContextTokens,GeneratedTokens\n1,4,5\n2\n")
    with pytest.raises(ValueError, match="without a number in ContextTokens"):
        read(Replay(path=path), RNG)
    lines = tmp_path / "bad.jsonl"
    for text, said in (('{"timestamp": 1}\n{', "bad.jsonl:2 is not JSON"), ("[1]", "bad.jsonl:1 is no JSON object")):
        lines.write_text(text)
        with pytest.raises(ValueError, match=said):
            read(Replay(path=lines), RNG)
    path.write_text("Timestamp\n")
    with pytest.raises(ValueError, match="no rows"):
        read(Replay(path=path), RNG)
