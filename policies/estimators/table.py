"""Step time from a profile: a monotone table."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, model_validator

from policies.api import FloatArray, StepFeedback
from policies.models import StepLoad


class Profile(BaseModel):
    """Measured times, by tokens in the target's pass and by requests in the draft's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: tuple[int, ...] = Field(min_length=2, description="rising sizes of the target's pass")
    verify_s: tuple[float, ...] = Field(min_length=2, description="step without drafting, at each")
    batch: tuple[int, ...] = Field(min_length=2, description="rising batch sizes")
    draft_s: tuple[float, ...] = Field(min_length=2, description="one draft pass, at each")
    draft_start_s: float = Field(default=0.0, ge=0)
    catch_up_s: float = Field(default=0.0, ge=0, description="per token missing from the draft's cache")
    context_s: float = Field(default=0.0, ge=0, description="per context token beyond the profile's own context")

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        for sizes, times in ((self.tokens, self.verify_s), (self.batch, self.draft_s)):
            if len(sizes) != len(times) or any(a >= b for a, b in pairwise(sizes)):
                raise ValueError(f"sizes {sizes} must rise and match times {times} one to one")
        return self


class TableCost:
    """Interpolates a profile under a monotone envelope; beyond the last entry its last slope goes on.

    The envelope (a larger pass is never cheaper) keeps timing noise from making a longer draft look free: vLLM's
    adaptive verification does the same with its timed graphs.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._verify = _envelope(profile.tokens, profile.verify_s)
        self._draft = _envelope(profile.batch, profile.draft_s)

    def step_s(self, load: StepLoad, k: ArrayLike, verify_tokens: ArrayLike) -> FloatArray:
        p = self.profile
        k, n = np.asarray(k, np.float64), np.asarray(verify_tokens, np.float64)
        verify = np.interp(load.batch + load.prefill_tokens + n, *self._verify)
        each = np.interp(load.batch, *self._draft)
        once = p.draft_start_s + p.catch_up_s * load.lag_tokens
        return np.asarray(verify + p.context_s * load.context_tokens + k * each + (k > 0) * once)

    def observe(self, seen: StepFeedback) -> None:
        return None

    def snapshot(self) -> dict[str, Any]:
        return self.profile.model_dump(mode="json")

    def restore(self, state: Mapping[str, Any]) -> None:
        TableCost.__init__(self, Profile.model_validate(dict(state)))

    def explain(self) -> dict[str, Any]:
        return {"kind": "table", **self.snapshot()}


def _envelope(sizes: tuple[int, ...], times: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
    """Knots for np.interp, with one far beyond the last on its segment's line."""
    x, y = np.asarray(sizes, np.float64), np.maximum.accumulate(np.asarray(times, np.float64))
    far = 1e3 * x[-1]
    slope = (y[-1] - y[-2]) / (x[-1] - x[-2])
    return np.append(x, far), np.append(y, y[-1] + slope * (far - x[-1]))
