"""Requests to the fake engine, and how to read what comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx

PATH = "/v1/completions"


def body(
    tokens: int = 4, *, stream: bool = True, hold_at: int | None = None, gate: Path | None = None
) -> dict[str, Any]:
    held = {} if gate is None else {"fake": {"hold_at": hold_at or 0, "until": str(gate)}}
    return {"model": "fake", "prompt": "p", "max_tokens": tokens, "stream": stream, **held}


def events(response: httpx.Response) -> Iterator[dict[str, Any] | str]:
    """Each event's JSON; "[DONE]" as it is."""
    for line in response.iter_lines():
        if line.startswith("data: "):
            data = line.removeprefix("data: ")
            yield data if data == "[DONE]" else json.loads(data)
