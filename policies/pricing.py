"""What time is worth: the best rate a load allows, given what drafts look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from policies.chains import Yields
from policies.models import CostModel, FloatArray, StepLoad
from policies.prompts import Prompts

NUDGE = 0.1
"""More verified tokens per request, to see what one more costs."""
SOME = 1e-9
"""Verified tokens that are not none: what verifying at all costs is no hump, it is paid from the first."""


@dataclass(frozen=True, slots=True)
class Price:
    """The best uniform K and verify threshold, K > 0."""

    k: int
    rate: float  # tokens/s
    plain_rate: float  # tokens/s of plain decoding
    step_s: float
    tokens: float  # expected per request
    least: float  # survival from which one more verified token is worth its time
    pass_price: tuple[float, ...]  # [K] tokens that each slot's draft pass must bring, less what stopping would lose


def price(cost: CostModel, load: StepLoad, yields: Yields, k_most: int, prompts: Prompts) -> Price:
    """Every K in 1..k_most with every threshold, by expected tokens / predicted time."""
    verified, ks = load.batch * yields.verified[:, : k_most + 1], np.arange(k_most + 1)
    step_s = prompts.step_s(cost, load, ks, verified)
    tokens = 1.0 + yields.gained[:, : k_most + 1]
    rates = load.batch * tokens / step_s
    at, best = divmod(int(rates[:, 1:].argmax()), k_most)
    k, rate = best + 1, float(rates[at, best + 1])
    more = NUDGE * load.batch
    nudged_s = float(prompts.step_s(cost, load, k, verified[at, k] + more))
    passes_s = np.diff(prompts.step_s(cost, load, ks, verified[at, [k]]))
    lengths = np.maximum(verified[at, : k + 1], SOME)
    lost_s = humps(lengths, prompts.step_s(cost, load, k, lengths))
    passes_s[:k] -= lost_s[:k]
    return Price(
        k=k,
        rate=rate,
        plain_rate=float(rates[-1, 0]),
        step_s=float(step_s[at, k]),
        tokens=float(tokens[at, k]),
        least=rate * (nudged_s - float(step_s[at, k])) / more,
        pass_price=tuple((rate * passes_s).tolist()),
    )


def humps(verified: FloatArray, step_s: FloatArray) -> FloatArray:
    """[k+1] seconds by which stopping at each slot lies above the straight line from none to all of the plan's.

    None where the cost is convex. Where a pass of that size is slow, going on to a size that is not saves them.
    """
    span = float(verified[-1] - verified[0])
    if span <= 0.0:
        return np.zeros(len(verified))
    share = (verified - verified[0]) / span
    line = step_s[0] + share * (step_s[-1] - step_s[0])
    return np.asarray(np.maximum(step_s - line, 0.0))
