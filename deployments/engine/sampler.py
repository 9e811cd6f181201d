"""A step without drafts samples as an engine without speculation does, and prepares for it as one does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from vllm.v1.outputs import SamplerOutput
from vllm.v1.sample.metadata import SamplingMetadata
from vllm.v1.spec_decode.metadata import SpecDecodeMetadata


class PlainWhenUndrafted(nn.Module):
    """Wraps vLLM's rejection sampler: with zero drafts its bonus token is the plain sampler's, at more cost."""

    def __init__(self, rejection_sampler: Any) -> None:
        super().__init__()
        self.rejection_sampler = rejection_sampler

    def forward(
        self,
        metadata: SpecDecodeMetadata,
        draft_probs: torch.Tensor | None,
        logits: torch.Tensor,
        sampling_metadata: SamplingMetadata,
    ) -> SamplerOutput:
        if metadata.max_spec_len == 0:
            sampled: SamplerOutput = self.rejection_sampler.sampler(logits=logits, sampling_metadata=sampling_metadata)
            return sampled
        verified: SamplerOutput = self.rejection_sampler(metadata, draft_probs, logits, sampling_metadata)
        return verified


class UndraftedMetadata:
    """In place of vLLM's `_calc_spec_decode_metadata`, whose index arithmetic has one outcome without drafts."""

    def __init__(self, runner: Any) -> None:
        self._calculate = runner._calc_spec_decode_metadata  # noqa: SLF001 - it stands in for it
        self._device = runner.device
        self._undrafted: SpecDecodeMetadata | None = None

    def __call__(self, num_draft_tokens: NDArray[np.int32], cu_num_tokens: NDArray[np.int32]) -> SpecDecodeMetadata:
        """`num_draft_tokens`, `cu_num_tokens` [B]: drafts of each request, end of each request in the pass."""
        if np.count_nonzero(num_draft_tokens):
            drafted: SpecDecodeMetadata = self._calculate(num_draft_tokens, cu_num_tokens)
            return drafted
        if self._undrafted is None or len(self._undrafted.num_draft_tokens) != len(num_draft_tokens):
            self._undrafted = self._without_drafts(len(num_draft_tokens))
        self._undrafted.logits_indices = torch.as_tensor(cu_num_tokens - 1, device=self._device)
        return self._undrafted  # the same object: a step is over before the next one is prepared

    def _without_drafts(self, batch: int) -> SpecDecodeMetadata:
        none = torch.zeros(0, dtype=torch.int32, device=self._device)
        each = torch.arange(batch, dtype=torch.int32, device=self._device)
        return SpecDecodeMetadata(
            draft_token_ids=none,
            num_draft_tokens=[0] * batch,
            cu_num_draft_tokens=torch.zeros_like(each),
            cu_num_sampled_tokens=each + 1,
            target_logits_indices=none,
            bonus_logits_indices=each,
            logits_indices=each,
        )
