from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from loadgen.complaint import counted, positive, reason, share
from tests.unit.loadgen.scenarios import scenario


@pytest.mark.parametrize(
    ("takes", "good", "bad"),
    [
        (positive, ["0.1", "3"], ["0", "-1", "inf", "nan"]),
        (counted, ["1", "12"], ["0", "-3"]),
        (share, ["0.9", "1"], ["0", "1.1", "90"]),
    ],
)
def test_numbers_out_of_range_are_refused(takes: Callable[[str], float], good: list[str], bad: list[str]) -> None:
    assert [takes(text) for text in good] == [float(text) for text in good]
    for text in bad:
        with pytest.raises(ArgumentTypeError, match=text):
            takes(text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"durations_s": 3}, "durations_s: no such field; did you mean duration_s?"),
        ({"zzz": 3}, "zzz: no such field"),
        ({"duration_s": -1}, "duration_s: -1 refused: Input should be greater than 0"),
        (
            {"prompts": {"tokens": {"mean_token": 3}}},
            "prompts.tokens.mean_token: no such field; did you mean mean_tokens?",
        ),
    ],
)
def test_a_refusal_names_field_value_and_fix(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        scenario(**changes)
    assert said in reason(caught.value).splitlines()
    assert reason(OSError("away")) == "away"
