from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen import prompts
from loadgen.sim.rng import generator

TEXTS = st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=8)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(0, 60))
def test_every_text_comes_once_before_any_comes_again(texts: int, count: int) -> None:
    found = prompts.order(["t"] * texts, count, generator(0, "p"))
    assert len(found) == count
    for start in range(0, count - texts + 1, texts):
        assert sorted(found[start : start + texts]) == list(range(texts))


@settings(deadline=None)
@given(TEXTS, st.integers(1, 200))
def test_a_cut_has_its_length_and_keeps_the_end(texts: list[str], characters: int) -> None:
    found = prompts.cut(texts, 0, characters)
    assert len(found) == characters
    assert found.endswith(texts[0][-characters:])


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('{"prompt": "a"}', "a"),
        ('{"text": "b"}', "b"),
        ('{"turns": ["c", "d"]}', "c"),
        ('{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "e"}]}', "e"),
    ],
)
def test_known_shapes(tmp_path: Path, line: str, text: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(f"{line}\n\n")
    assert prompts.read(path) == [text]


def test_a_line_ends_at_a_newline_only(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a\u2028b"}\r\n{"prompt": "c"}\n', encoding="utf-8", newline="")
    assert prompts.read(path) == ["a\u2028b", "c"]


@pytest.mark.parametrize(
    ("line", "named"), [('{"x": 1}', "has none of prompt"), ("[1]", "has none"), ("{", "p.jsonl:1 is not JSON")]
)
def test_a_line_without_a_text_is_named(tmp_path: Path, line: str, named: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(line)
    with pytest.raises(ValueError, match=named):
        prompts.read(path)
