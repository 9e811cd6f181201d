from __future__ import annotations

from typing import Any

import pytest

from tests.unit.policies.worlds import make, make_view

pytestmark = pytest.mark.unit


def ks(batches: list[int], **params: Any) -> list[int]:
    policy = make("schedule", **params)
    return [policy.plan(make_view(batch)).k for batch in batches]


def test_vllm_form_inherits_over_gaps_and_beyond() -> None:
    ranges = [[1, 4, 5], [8, 16, 2]]
    assert ks([1, 4, 5, 7, 8, 16, 17, 500], ranges=ranges) == [5, 5, 5, 5, 2, 2, 2, 2]


def test_tensorrt_form_is_off_beyond_the_last() -> None:
    assert ks([1, 4, 5, 8, 9, 32, 33], up_to={32: 1, 4: 4, 8: 2}) == [4, 4, 2, 2, 1, 1, 0]


def test_below_the_first_range_its_k_counts() -> None:
    assert ks([1, 3], ranges=[[2, 4, 5]]) == [5, 5]


def test_prompt_chunks_do_not_count_as_batch() -> None:
    policy = make("schedule", up_to={4: 4})
    assert policy.plan(make_view(4, prefill_tokens=512)).k == 4
