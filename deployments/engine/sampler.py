"""A step without drafts samples as an engine without speculation does."""

from __future__ import annotations

from typing import Any

import torch
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
