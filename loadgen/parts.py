"""What a scenario over HTTP and a simulated one have in common: lengths and service classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from loadgen.sim.rng import FloatArray
from loadgen.sim.settings import Settings


class Lengths(Settings):
    """Log-normal token counts, clipped."""

    mean_tokens: float = Field(gt=0)
    cv: float = Field(default=0.6, ge=0)
    min_tokens: int = Field(default=1, ge=1)
    max_tokens: int = Field(default=1024, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Lengths:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens: {self.min_tokens} is above max_tokens, {self.max_tokens}")
        return self

    def draw(self, rng: np.random.Generator, recorded: FloatArray | None, n: int) -> NDArray[np.int64]:
        """[n] token counts: those recorded, else log-normal ones."""
        drawn = recorded
        if drawn is None:
            sigma2 = np.log1p(self.cv**2)
            drawn = rng.lognormal(np.log(self.mean_tokens) - sigma2 / 2, np.sqrt(sigma2), n)
        return np.clip(np.rint(drawn), self.min_tokens, self.max_tokens).astype(np.int64)


class SloClass(Settings):
    """Requests with the same objectives."""

    name: str
    share: float = Field(default=1.0, gt=0)
    ttft_ms: float = Field(default=float("inf"), gt=0, allow_inf_nan=True)
    tpot_ms: float = Field(default=float("inf"), gt=0, allow_inf_nan=True)


def pick(rng: np.random.Generator, shares: list[float], n: int) -> NDArray[np.int64]:
    """[n] indices, each as often as its share."""
    p = np.array(shares) / sum(shares)
    return rng.choice(len(shares), size=n, p=p).astype(np.int64)
