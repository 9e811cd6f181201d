from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from vllm.v1.sample import rejection_sampler

from deployments.engine import cpu_fix

Expand = Callable[[torch.Tensor, torch.Tensor, int, int], torch.Tensor]


def ours(values: torch.Tensor, counts: torch.Tensor, replace_from: int, replace_to: int) -> torch.Tensor:
    """The kernel's own calling convention: into an output that holds garbage."""
    output = torch.full((int(counts.sum()),), 77, dtype=values.dtype)
    cpu_fix.expand(output, values, counts.cumsum(0).to(torch.int32), replace_from, replace_to, MAX_NUM_TOKENS=128)
    return output


def through_vllm(values: torch.Tensor, counts: torch.Tensor, replace_from: int, replace_to: int) -> torch.Tensor:
    """The call vLLM's rejection sampler makes, once the correction is registered."""
    cumulative = counts.cumsum(0).to(torch.int32)
    expanded: torch.Tensor = rejection_sampler.expand_batch_to_tokens(
        values, cumulative, int(counts.sum()), replace_from=replace_from, replace_to=replace_to
    )
    return expanded


@pytest.fixture(scope="module", params=[ours, through_vllm])
def expand(request: pytest.FixtureRequest) -> Expand:
    if request.param is through_vllm:
        cpu_fix.install()
    found: Expand = request.param
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32, torch.int64])
@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=1, max_size=8))
def test_each_value_is_repeated_for_its_tokens(expand: Expand, dtype: torch.dtype, rows: list[tuple[int, int]]) -> None:
    values = torch.tensor([value for value, _ in rows]).to(dtype) / (2 if dtype.is_floating_point else 1)
    counts = torch.tensor([count for _, count in rows])
    replaced = torch.where(values == 0, torch.ones_like(values), values)
    expanded = expand(values.to(dtype), counts, 0, 1)
    assert expanded.dtype == dtype
    assert torch.equal(expanded, torch.repeat_interleave(replaced.to(dtype), counts))


def test_a_temperature_keeps_its_fraction(expand: Expand) -> None:
    expanded = expand(torch.tensor([0.7, 1.3]), torch.tensor([2, 1]), 0, 1)
    assert torch.equal(expanded, torch.tensor([0.7, 0.7, 1.3]))
