"""Recorded arrivals, read from a path: Azure, BurstGPT and AdaSpec as CSV, Mooncake as JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from loadgen.sim.rng import FloatArray
from loadgen.sim.settings import Settings

PROMPT_COLUMNS = ("ContextTokens", "Request tokens", "input_length")
OUTPUT_COLUMNS = ("GeneratedTokens", "Response tokens", "output_length")


class Replay(Settings):
    """A CSV with a header (seconds or dates), or JSON lines (milliseconds); `timestamp`, else the first column."""

    kind: Literal["replay"] = "replay"
    path: Path
    start_s: float = Field(default=0.0, ge=0, description="the window's beginning, recorded time since the first row")
    window_s: float | None = Field(default=None, gt=0, description="its length, recorded time")
    speed: float = Field(default=1.0, gt=0, description="2: twice as fast as recorded")
    copies: float = Field(default=1.0, gt=0, le=1000, description="rate scale at the same speed: below 1 thins")
    lengths: bool = Field(default=True, description="take prompt and output tokens where the file has them")


def read(replay: Replay, rng: np.random.Generator) -> tuple[FloatArray, FloatArray | None]:
    """Times [n] from the window's beginning, and [n, 2] prompt and output tokens where recorded.

    Raises:
        ValueError: the file has no rows, none in the window, a broken one, or a time neither seconds nor a date.
    """
    rows, unit_s = _rows(replay.path)
    if not rows:
        raise ValueError(f"arrivals.path: {replay.path} has no rows")
    column = next((c for c in rows[0] if str(c).lower() == "timestamp"), next(iter(rows[0])))
    at = np.array([_seconds(row.get(column), replay.path) for row in rows]) * unit_s
    order = np.argsort(at, kind="stable")
    at = at[order] - at.min() - replay.start_s
    inside = (at >= 0) & (at < (np.inf if replay.window_s is None else replay.window_s))
    if not inside.any():
        raise ValueError(f"arrivals.start_s: {replay.start_s}: no row of {replay.path} lies in the window")
    tokens = _tokens(rows, replay.path) if replay.lengths else None
    return _scaled(at[inside] / replay.speed, None if tokens is None else tokens[order][inside], replay.copies, rng)


def _rows(path: Path) -> tuple[list[Mapping[str, Any]], float]:
    with path.open(newline="", encoding="utf-8") as file:
        if path.suffix == ".jsonl":
            return [_object(line, path, number) for number, line in enumerate(file, 1) if line.strip()], 1e-3
        return list(csv.DictReader(file)), 1.0


def _object(line: str, path: Path, number: int) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"arrivals.path: {path}:{number} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"arrivals.path: {path}:{number} is no JSON object")  # noqa: TRY004 - of a file
    return row


def _tokens(rows: list[Mapping[str, Any]], path: Path) -> FloatArray | None:
    prompt = next((c for c in PROMPT_COLUMNS if c in rows[0]), None)
    output = next((c for c in OUTPUT_COLUMNS if c in rows[0]), None)
    if prompt is None or output is None:
        return None
    try:
        return np.array([(float(row[prompt]), float(row[output])) for row in rows])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"arrivals.path: {path}: a row without a number in {prompt} or {output}") from error


def _scaled(
    at: FloatArray, tokens: FloatArray | None, copies: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray | None]:
    """Each row `copies` times on average; a further copy comes before the next recorded arrival."""
    if copies == 1:
        return at, tokens
    count = np.floor(copies + rng.random(len(at))).astype(np.int64)
    source = np.repeat(np.arange(len(at)), count)
    first = np.concatenate(([True], source[1:] != source[:-1])) if len(source) else np.zeros(0, np.bool_)
    gap = np.diff(at, append=at[-1])
    moved = at[source] + np.where(first, 0.0, rng.random(len(source)) * gap[source])
    order = np.argsort(moved, kind="stable")
    return moved[order], None if tokens is None else tokens[source][order]


def _seconds(value: Any, path: Path) -> float:
    """Times without a zone are UTC: a local clock's change in summer would move them."""
    text = str(value)
    try:
        return float(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"arrivals.path: {path}: {value!r} is neither seconds nor a date and time") from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
