"""An OpenAI stream's events, read after the answer ended so that parsing delays nobody's clock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Answer:
    """What the events said."""

    texts_s: list[float] = field(default_factory=list)  # arrival of each piece that carried text
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None
    done: bool = False


def parse(events: Sequence[tuple[float, bytes]]) -> Answer:
    """`data:` lines with their arrival times."""
    answer = Answer()
    for at_s, line in events:
        payload = line[5:].strip()
        if payload == b"[DONE]":
            answer.done = True
            continue
        try:
            row = json.loads(payload)
        except ValueError:
            answer.error = "event is not JSON"
            continue
        if isinstance(row, dict):
            _take(answer, row, at_s)
        else:
            answer.error = "event is no object"
    return answer


def _take(answer: Answer, row: dict[str, Any], at_s: float) -> None:
    if row.get("error"):
        answer.error = "error event"
        return
    if any(_has_text(choice) for choice in row.get("choices") or ()):
        answer.texts_s.append(at_s)
    usage = row.get("usage")
    if usage:
        answer.prompt_tokens, answer.output_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")


def _has_text(choice: dict[str, Any]) -> bool:
    """A chat stream opens with a role and no text: that is not a token."""
    delta = choice.get("delta") or choice
    return any(delta.get(name) for name in ("text", "content", "reasoning_content", "reasoning", "tool_calls"))
