"""Verify lengths that leave the output distribution alone.

A request whose draft was sampled at temperature > 0 gets its length from the plan, or from a rule fixed in the plan
and applied to prefix survivals: a slot's fate then never depends on that slot's own token or on later ones. Which slots
there are must not depend on tokens either where the rule ranks them: there, no draft is stopped early.
"""

from __future__ import annotations

import numpy as np

from policies.api import BoolArray, Cut, FloatArray, IntArray


def restricted_rows(temperature: FloatArray, *, sampled: bool) -> BoolArray:
    """[B] requests for which a free choice of length would bias the output."""
    return (temperature > 0) & sampled


def ranks(cut: Cut | None) -> bool:
    """Whether what the rule keeps of one slot may depend on which others were drafted."""
    return cut is not None and (cut.budget_tokens is not None or cut.cost_s is not None)


def cut_lengths(cut: Cut, survival: FloatArray, most: IntArray) -> IntArray:
    """Lengths [B] by the rule `cut`, from prefix survivals [B, K] (non-increasing along K); at most `most` [B]."""
    batch, k = survival.shape
    survival = np.where(np.arange(k) < most[:, None], survival, -1.0)
    order = np.argsort(-survival.T.ravel(), kind="stable")  # slot-major: ties go to earlier slots
    ranked = survival.T.ravel()[order]
    keep = int((ranked >= max(cut.min_survival or 0.0, 0.0)).sum())
    if cut.budget_tokens is not None:
        keep = min(keep, cut.budget_tokens)
    if cut.cost_s is not None:
        keep = min(keep, _first_decrease(ranked, cut.cost_s, batch))
    return np.bincount(order[:keep] % batch, minlength=batch).astype(np.int64)


def final_lengths(planned: IntArray, selected: IntArray, cut: IntArray | None, restricted: BoolArray) -> IntArray:
    """[B] the policy's selection where any choice is exact, the plan's own rule where it is not."""
    ruled = planned if cut is None else np.minimum(planned, cut)
    return np.where(restricted, ruled, np.minimum(planned, selected))


def _first_decrease(ranked: FloatArray, cost_s: FloatArray, batch: int) -> int:
    """How many of the ranked slots to keep: up to the first one that lowers expected tokens per second."""
    ranked = ranked[: len(cost_s) - 1]
    tokens = batch + np.concatenate(([0.0], np.cumsum(np.maximum(ranked, 0.0))))
    rate = tokens / cost_s[: len(tokens)]
    worse = np.flatnonzero(np.diff(rate) < 0)
    return int(worse[0]) if len(worse) else len(ranked)
