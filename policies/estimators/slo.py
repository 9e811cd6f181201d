"""Service objectives as arithmetic: slack, deadlines, predicted TPOT, attainment.

TPOT is the mean over a request, (elapsed decode time) / (tokens after the first), so a request that was fast so far may
be slow now. All arrays follow the view's requests [B]; no objective is an infinite one.
"""

from __future__ import annotations

import numpy as np

from policies.api import BoolArray, FloatArray, StepView


def slack_s(view: StepView) -> FloatArray:
    """[B] decode time a request has in hand; negative: it is over its TPOT."""
    return deadline_s(view, 0.0)


def deadline_s(view: StepView, tokens: FloatArray | float) -> FloatArray:
    """Longest next step that, emitting `tokens` [B] or [B, n], leaves each request within its TPOT."""
    slo, done, elapsed = view.tpot_slo_s, np.maximum(view.emitted_tokens, 1) - 1, view.elapsed_decode_s
    if np.ndim(tokens) == 2:
        slo, done, elapsed = slo[:, None], done[:, None], elapsed[:, None]
    total = done + tokens
    with np.errstate(invalid="ignore"):  # no objective times no token
        return np.where(np.isinf(slo), np.inf, slo * total - elapsed)


def predicted_tpot_s(view: StepView, step_s: float, tokens: FloatArray | float) -> FloatArray:
    """[B] mean TPOT after a step of `step_s` that emits `tokens` per request."""
    done = np.maximum(view.emitted_tokens, 1) - 1 + tokens
    return np.asarray((view.elapsed_decode_s + step_s) / np.maximum(done, 1e-9))


def needed_tokens(view: StepView, step_s: float, share: float = 1.0) -> FloatArray:
    """[B] tokens a step of `step_s` must emit to keep each TPOT: A(r) = (l + t) / TPOT - o (AdaServe, eq. 4).

    `share` of the TPOT is aimed at: below 1 something is held in reserve.
    """
    due = (view.elapsed_decode_s + step_s) / view.tpot_slo_s
    return np.asarray(due * (1.0 / share) - (np.maximum(view.emitted_tokens, 1) - 1))


def attained(view: StepView) -> BoolArray:
    """[B] which requests are within their TPOT so far."""
    return slack_s(view) >= 0


def breaks_slo(view: StepView, survival: FloatArray, cost_s: FloatArray, plain_s: float) -> BoolArray:
    """[N+1] whether verifying the n = 0..N likeliest slots leaves some request over its TPOT.

    `survival` [B, K] is in verify order within a row; `cost_s` [N+1] must not fall. A request that plain decoding
    (`plain_s` a step) could not save is only held against a shape that is slower per token than plain decoding.
    """
    batch, k = survival.shape
    n = batch * k
    rank = np.empty(n, np.int64)
    rank[np.argsort(-survival, axis=None, kind="stable")] = np.arange(1, n + 1)
    # Request i has length l for every total from begins[i, l] up to, not including, ends[i, l].
    begins = np.concatenate([np.zeros((batch, 1), np.int64), rank.reshape(batch, k)], axis=1)
    ends = np.concatenate([begins[:, 1:], np.full((batch, 1), n + 1)], axis=1)
    tokens = np.concatenate([np.ones((batch, 1)), 1.0 + np.cumsum(survival, axis=1)], axis=1)
    limit = np.maximum(deadline_s(view, tokens), plain_s * tokens * (1 + 1e-9))
    late_from = np.maximum(begins, np.searchsorted(cost_s, limit, side="right"))
    bad = late_from < ends
    starts, stops = np.bincount(late_from[bad], minlength=n + 2), np.bincount(ends[bad], minlength=n + 2)
    return np.asarray(np.cumsum(starts - stops)[: n + 1] > 0)
