"""Step time from step shape: the linear model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field

from policies.api import FloatArray, StepFeedback
from policies.models import StepLoad


class LinearCoefficients(BaseModel):
    """Seconds: T = alpha * context tokens + gamma * tokens in the pass + delta, for target and draft (AdaSpec, eq. 5).

    A multi-query kernel reads each request's KV once, so context tokens are the sum over requests, not over rows.
    The defaults describe a 270M target and a 1M draft on two CPU cores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target_alpha_s: float = Field(default=1e-7, ge=0)
    target_gamma_s: float = Field(default=1.6e-3, ge=0)
    target_delta_s: float = Field(default=25e-3, ge=0)
    request_s: float = Field(default=5e-4, ge=0, description="per request, whatever is verified: inputs, sampling")
    verify_start_s: float = Field(default=0.0, ge=0, description="once a step that verifies draft tokens")
    row_s: float = Field(default=0.0, ge=0, description="per token decoded or verified: prompts have no logits")
    draft_alpha_s: float = Field(default=1e-8, ge=0)
    draft_gamma_s: float = Field(default=3e-5, ge=0)
    draft_delta_s: float = Field(default=6e-4, ge=0)
    draft_start_s: float = Field(default=1.2e-3, ge=0, description="once a step that drafts, beside the passes")
    catch_up_s: float = Field(default=2.5e-5, ge=0, description="per token missing from the draft's cache")
    overhead_s: float = Field(default=3e-3, ge=0, description="scheduler, executor, transport")


class LinearCost:
    """A linear time model; `observe` learns nothing."""

    def __init__(self, coefficients: LinearCoefficients | None = None) -> None:
        self.coefficients = coefficients or LinearCoefficients()

    def step_s(self, load: StepLoad, k: ArrayLike, verify_tokens: ArrayLike) -> FloatArray:
        c = self.coefficients
        k, n = np.asarray(k, np.float64), np.asarray(verify_tokens, np.float64)
        fixed = c.overhead_s + c.target_delta_s + c.target_alpha_s * load.context_tokens + c.request_s * load.batch
        tokens = c.target_gamma_s * (load.batch + load.prefill_tokens + n) + c.row_s * (load.batch + n)
        verify = fixed + tokens + (n > 0) * c.verify_start_s
        each = c.draft_alpha_s * load.context_tokens + c.draft_gamma_s * load.batch + c.draft_delta_s
        once = c.draft_start_s + c.catch_up_s * load.lag_tokens
        return np.asarray(verify + k * each + (k > 0) * once)

    def observe(self, seen: StepFeedback) -> None:
        return None

    def snapshot(self) -> dict[str, Any]:
        return self.coefficients.model_dump()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.coefficients = LinearCoefficients.model_validate(dict(state))

    def explain(self) -> dict[str, Any]:
        return {"kind": "linear", **self.snapshot()}
