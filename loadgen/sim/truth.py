"""The true step time of a simulated engine, and presets with their source."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from loadgen.sim.rng import FloatArray
from loadgen.sim.settings import Settings

MS, US = 1e-3, 1e-6


class Forward(Settings):
    """Seconds of one forward pass: launch, plus the larger of reading memory and computing (a roofline)."""

    fixed_s: float = Field(default=0.0, ge=0, description="launch, and weights where they do not overlap with compute")
    weights_s: float = Field(default=0.0, ge=0, description="reading the weights once")
    context_s: float = Field(default=0.0, ge=0, description="reading one context token's KV")
    token_s: float = Field(default=0.0, ge=0, description="computing one token of the pass")
    request_s: float = Field(default=0.0, ge=0, description="per request: sampling, input preparation")

    def seconds(self, tokens: float, batch: float, context_tokens: float) -> float:
        memory_s = self.weights_s + self.context_s * context_tokens
        return self.fixed_s + self.request_s * batch + max(memory_s, self.token_s * tokens)


class Truth(Settings):
    """An engine on a machine."""

    source: str
    target: Forward
    draft: Forward
    verify_first_s: float = Field(default=0.0, ge=0, description="once a step that verifies draft tokens")
    draft_first_s: float = Field(default=0.0, ge=0, description="once a step with drafts, beside the passes")
    overhead_s: float = Field(default=0.0, ge=0, description="scheduler, executor, transport; once a step")
    noise: float = Field(default=0.03, ge=0, le=1, description="coefficient of variation of a step's time")
    seats: int = Field(gt=0, description="most requests a step runs")
    token_budget: int = Field(gt=0, description="most tokens a step computes")
    kv_tokens: int = Field(gt=0, description="context tokens the KV cache holds")
    offload_kv_tokens: int = Field(default=0, ge=0, description="context tokens gained while the draft is offloaded")
    reload_s: float = Field(default=0.0, ge=0, description="from asking the draft back to having it")

    def verify_s(self, tokens: float, batch: float, context_tokens: float, *, drafts: bool = False) -> float:
        """A pass of `tokens`; with `drafts`, some of them are draft tokens."""
        return self.overhead_s + self.target.seconds(tokens, batch, context_tokens) + drafts * self.verify_first_s

    def verify_each_s(
        self, tokens: FloatArray, batch: int, context_tokens: int, *, drafts: FloatArray | float = 0.0
    ) -> FloatArray:
        """`verify_s` for many token counts at once; so many `drafts` are among them."""
        t = self.target
        memory_s = t.weights_s + t.context_s * context_tokens
        pass_s = self.overhead_s + t.fixed_s + t.request_s * batch + np.maximum(memory_s, t.token_s * tokens)
        return pass_s + np.greater(drafts, 0) * self.verify_first_s

    def draft_s(self, k: int, batch: float, context_tokens: float, catch_up_tokens: float) -> float:
        """`k` passes over the batch; the first one also takes what the draft's cache lacks."""
        if k == 0:
            return 0.0
        first_s = self.draft.seconds(batch + catch_up_tokens, batch, context_tokens)
        return self.draft_first_s + first_s + (k - 1) * self.draft.seconds(batch, batch, context_tokens)


_CPU = "least squares over batch 1/16/32 x 1..6 tokens a request, vLLM 0.32 CPU, 2 shared cores, 1M draft; MAPE {} %"
_H100 = "roofline, H100 SXM: 3.35 TB/s at 75 %, 989 dense bf16 TFLOP/s at 55 % (draft 40 %); {}; launch costs assumed"

_CPU_DRAFT = Forward(fixed_s=0.52 * MS, token_s=24 * US, request_s=9 * US)
_ONE_B = Forward(fixed_s=0.3 * MS, weights_s=0.98 * MS, context_s=13e-9, token_s=6.3 * US, request_s=2 * US)

PRESETS: dict[str, Truth] = {
    "cpu_30m": Truth(
        source=_CPU.format(4.0),
        target=Forward(fixed_s=4.79 * MS, token_s=0.233 * MS, request_s=0.099 * MS),
        draft=_CPU_DRAFT,
        draft_first_s=1.2 * MS,
        overhead_s=3.0 * MS,
        noise=0.08,
        seats=32,
        token_budget=512,
        kv_tokens=65_536,
    ),
    "cpu_270m": Truth(
        source=_CPU.format(2.9),
        target=Forward(fixed_s=25.0 * MS, token_s=1.672 * MS, request_s=0.54 * MS),
        draft=_CPU_DRAFT,
        draft_first_s=1.3 * MS,
        overhead_s=3.2 * MS,
        noise=0.08,
        seats=32,
        token_budget=512,
        kv_tokens=65_536,
    ),
    "h100_8b_1b": Truth(
        source=_H100.format("8.03e9 parameters (16.1 GB), 128 KiB KV a token; 1.24e9 (2.5 GB), 32 KiB"),
        target=Forward(fixed_s=0.4 * MS, weights_s=6.4 * MS, context_s=52e-9, token_s=29.5 * US, request_s=5 * US),
        draft=_ONE_B,
        overhead_s=1.5 * MS,
        seats=256,
        token_budget=4096,
        kv_tokens=314_000,
        offload_kv_tokens=18_000,
        reload_s=0.06,
    ),
    "h100_70b_1b": Truth(
        source=_H100.format("70.6e9 parameters (141 GB) on 4 GPUs, 320 KiB KV a token; 1.24e9 on one, 32 KiB"),
        target=Forward(fixed_s=3.0 * MS, weights_s=14.0 * MS, context_s=33e-9, token_s=65 * US, request_s=5 * US),
        draft=_ONE_B,
        overhead_s=2.0 * MS,
        seats=256,
        token_budget=4096,
        kv_tokens=378_000,
        offload_kv_tokens=7_000,
        reload_s=0.06,
    ),
}
