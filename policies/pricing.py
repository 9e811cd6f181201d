"""What time is worth: the best rate a load allows, given what drafts look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from policies.chains import NUDGE, Yields
from policies.models import CostModel, StepLoad


@dataclass(frozen=True, slots=True)
class Price:
    """The best uniform K and verify threshold, K > 0."""

    k: int
    rate: float  # tokens/s
    plain_rate: float  # tokens/s of plain decoding
    step_s: float
    tokens: float  # expected per request
    token_s: float  # one more verified token
    pass_s: tuple[float, ...]  # [K] the draft pass of each slot


def price(cost: CostModel, load: StepLoad, yields: Yields, k_most: int) -> Price:
    """Every K in 1..k_most with every threshold, by expected tokens / predicted time."""
    verified, gained = yields.verified[:, :, : k_most + 1], yields.gained[:, : k_most + 1]
    step_s, nudged_s = cost.step_s(load, np.arange(k_most + 1), load.batch * verified)
    rates = load.batch * (1.0 + gained) / step_s
    at, best = divmod(int(rates[:, 1:].argmax()), k_most)
    k = best + 1
    return Price(
        k=k,
        rate=float(rates[at, k]),
        plain_rate=float(rates[-1, 0]),
        step_s=float(step_s[at, k]),
        tokens=1.0 + float(gained[at, k]),
        token_s=float(nudged_s[at, k] - step_s[at, k]) / (NUDGE * load.batch),
        pass_s=tuple(np.diff(step_s[-1]).tolist()),
    )
