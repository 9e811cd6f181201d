"""Service objectives as arithmetic: slack, deadlines, predicted TPOT, attainment.

TPOT is the mean over a request, (elapsed decode time) / (tokens after the first), so a request that was fast so far may
be slow now. All arrays follow the view's requests [B]; no objective is an infinite one.
"""

from __future__ import annotations

import numpy as np

from policies.api import BoolArray, FloatArray, StepView
from policies.survival import Ranking

TINY = 1e-12


def slack_s(view: StepView) -> FloatArray:
    """[B] decode time a request has in hand; negative: it is over its TPOT."""
    return deadline_s(view, 0.0)


def deadline_s(view: StepView, tokens: FloatArray | float) -> FloatArray:
    """Longest next step that, emitting `tokens` [B] or [B, n], leaves each request within its TPOT."""
    slo, done, elapsed = view.tpot_slo_s, np.maximum(view.emitted_tokens, 1) - 1, view.elapsed_decode_s
    if np.ndim(tokens) == 2:
        slo, done, elapsed = slo[:, None], done[:, None], elapsed[:, None]
    total = done + tokens
    limit = slo * np.maximum(total, TINY)  # no objective times no token is none
    limit -= elapsed
    return np.asarray(limit)


def predicted_tpot_s(view: StepView, step_s: float, tokens: FloatArray | float) -> FloatArray:
    """[B] mean TPOT after a step of `step_s` that emits `tokens` per request."""
    done = np.maximum(view.emitted_tokens, 1) - 1 + tokens
    return np.asarray((view.elapsed_decode_s + step_s) / np.maximum(done, 1e-9))


def needed_tokens(view: StepView, step_s: FloatArray | float, share: float = 1.0) -> FloatArray:
    """[B] tokens a step of `step_s` must emit to keep each TPOT: A(r) = (l + t) / TPOT - o (AdaServe, eq. 4).

    [n, B] for `step_s` [n, 1]. `share` of the TPOT is aimed at: below 1 something is held in reserve.
    """
    due = (view.elapsed_decode_s + step_s) / view.tpot_slo_s
    due *= 1.0 / share
    due -= np.maximum(view.emitted_tokens, 1) - 1
    return due


def attained(view: StepView) -> BoolArray:
    """[B] which requests are within their TPOT so far."""
    return slack_s(view) >= 0


def within_slo(view: StepView, tokens: FloatArray, step_s: float, plain_s: float) -> bool:
    """Whether a step of `step_s` that emits `tokens` [B] leaves nobody over their TPOT.

    A request that plain decoding (`plain_s` a step) could not save only asks to be no slower per token than that.
    """
    allowed_s = np.maximum(deadline_s(view, tokens), plain_s * (1 + 1e-9) * tokens)
    return bool(np.minimum.reduce(allowed_s) >= step_s)


def breaks_slo(view: StepView, ranking: Ranking, cost_s: FloatArray, plain_s: float) -> BoolArray:
    """[N+1] whether verifying the n = 0..N likeliest slots of `ranking` is not `within_slo`. `cost_s` must not fall."""
    survival = ranking.gains
    batch, k = survival.shape
    tokens = np.ones((batch, k + 1))
    np.add.accumulate(survival, axis=1, out=tokens[:, 1:])
    tokens[:, 1:] += 1.0
    limit_s = np.maximum(deadline_s(view, tokens), plain_s * (1 + 1e-9) * tokens)
    # A request allows limit_s[i, l] until its next slot is taken, and more after it: of the limits that end later than
    # n, the least is that of the lengths which n slots come to.
    allowed_s = np.empty(batch * k + 1)
    allowed_s[:-1] = limit_s[:, :-1].ravel()[ranking.order()]
    allowed_s[-1] = limit_s[:, -1].min()
    least_s = np.minimum.accumulate(allowed_s[::-1])[::-1]
    return np.asarray(cost_s > least_s)
