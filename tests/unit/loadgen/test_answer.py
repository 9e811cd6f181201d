import json
from typing import Any

import pytest

from loadgen.answer import parse


def lines(*rows: dict[str, Any] | str) -> list[tuple[float, bytes]]:
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return [(float(i), f"data: {text}\r\n".encode()) for i, text in enumerate(texts)]


def test_a_chat_role_is_not_a_token() -> None:
    role = {"choices": [{"delta": {"role": "assistant", "content": ""}}]}
    text = {"choices": [{"delta": {"content": "hi"}}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 9}}
    found = parse(lines(role, text, text, usage, "[DONE]"))
    assert (found.texts_s, found.prompt_tokens, found.output_tokens, found.done) == ([1.0, 2.0], 4, 9, True)
    assert found.error is None


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"error": {"message": "replica lost"}}, "error event"),
        ("{", "event is not JSON"),
        ("null", "event is no object"),
    ],
)
def test_an_error_in_the_stream(row: Any, kind: str) -> None:
    found = parse(lines({"choices": [{"text": "a"}]}, row))
    assert (found.error, found.done) == (kind, False)


def test_fields_may_be_null() -> None:
    found = parse(lines({"error": None, "choices": [{"text": "a"}], "usage": None}, {"choices": None}, "[DONE]"))
    assert (found.error, found.texts_s, found.done) == (None, [0.0], True)
