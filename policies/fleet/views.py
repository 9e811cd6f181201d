"""What the fleet's decisions see. Arrays are [R], one entry a replica, in the caller's order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class FleetSettings(BaseModel):
    """Base of every fleet setting: frozen, and a misspelt name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class FleetView:
    """Every replica as last reported, plus what this router has sent since and the report cannot hold yet."""

    age_s: FloatArray  # since the report
    batch: FloatArray  # decode requests
    waiting: FloatArray  # requests queued in the engine
    backlog_tokens: FloatArray  # prompt tokens accepted and not computed
    sent: FloatArray  # requests sent since the report
    sent_tokens: FloatArray  # their prompt tokens
    seats: FloatArray  # most requests a replica runs at once
    step_s: FloatArray  # recent mean step period
    step_per_request_s: FloatArray  # what one more request adds to it
    tokens_per_step: FloatArray  # tokens one request gains in a step: 1 without speculation
    prefill_tokens_per_s: FloatArray
    residence_s: FloatArray  # mean time a request stays
    free_kv_fraction: FloatArray  # nan: unknown

    @property
    def replicas(self) -> int:
        return len(self.batch)

    @property
    def ahead(self) -> FloatArray:
        """[R] requests a new one would meet there."""
        return self.batch + self.waiting + self.sent


@dataclass(frozen=True, slots=True)
class RequestView:
    """A request at the door."""

    prompt_tokens: int
    ttft_slo_s: float = float("inf")  # what is left of it: time already waited is subtracted by the caller
    tpot_slo_s: float = float("inf")
    priority: int = 0  # larger goes first
    overload: Literal["queue", "shed"] = "shed"
    prefix_tokens: FloatArray | None = None  # [R] prompt tokens each replica has cached
