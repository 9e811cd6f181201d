"""Prompt texts from JSON lines, cut or joined to the wanted lengths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadgen.sim.rng import FloatArray

FIELDS = ("prompt", "text", "question")


def read(path: Path) -> list[str]:
    """One text a line.

    Raises:
        ValueError: a line without a text, or no lines.
        OSError: the file cannot be read.
    """
    lines = path.read_text(encoding="utf-8").split("\n")  # splitlines() would cut at U+2028 too
    texts = [_text(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]
    if not texts:
        raise ValueError(f"prompts.path: {path} has no lines")
    return texts


def _text(line: str, path: Path, number: int) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"prompts.path: {path}:{number} is not JSON: {error}") from error
    found = _of_row(row) if isinstance(row, dict) else None
    if not isinstance(found, str) or not found:
        raise ValueError(f"prompts.path: {path}:{number} has none of {', '.join((*FIELDS, 'turns', 'messages'))}")
    return found


def _of_row(row: dict[str, Any]) -> Any:
    for field in FIELDS:
        if field in row:
            return row[field]
    if row.get("turns"):
        return row["turns"][0]
    messages = row.get("messages") or [{}]
    return next((m.get("content") for m in messages if m.get("role") == "user"), None)


def order(texts: list[str], count: int, rng: np.random.Generator) -> list[int]:
    """[count] indices: every text once in random order, then all of them again in another."""
    rounds = -(-count // len(texts))
    return [int(i) for _ in range(rounds) for i in rng.permutation(len(texts))][:count]


def cut(texts: list[str], first: int, characters: int) -> str:
    """The last `characters` of a text, lengthened by the texts before it where it is shorter."""
    found, at = texts[first], first
    while len(found) < characters:
        at = (at - 1) % len(texts)
        found = texts[at] + found
    return found[-characters:]


def factor(prompt_tokens: FloatArray, output_tokens: NDArray[np.int64], token_cost: float, most: float) -> float:
    """What prompt lengths are multiplied with so that mean prefill work is at most `most` of mean decode work."""
    prefill, decode = token_cost * float(np.mean(prompt_tokens)), float(np.mean(output_tokens))
    return min(1.0, most * decode / prefill)
