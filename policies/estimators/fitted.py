"""Step time learned online, without a profile."""

from __future__ import annotations

from collections.abc import Mapping
from math import log2
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from policies.api import FloatArray, StepFeedback
from policies.estimators.cost import LinearCoefficients
from policies.estimators.reservoir import Reservoir, Shape
from policies.estimators.uneven import Uneven, cell
from policies.models import StepLoad

KNOTS = np.array([0.0, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024])
"""Tokens in the target's pass from which each may cost more: a pass turns from memory-bound to compute-bound."""
FAR = 1e6
ONCE = 5
"""Features of a target's step before those of its pass's tokens."""

HOPEFUL = LinearCoefficients(target_gamma_s=1e-4)
"""Verifying looks nearly free until it was tried: a dear prior would never be put to the test."""


class FittedCost:
    """Target: (fixed + context + requests + start + rows + a convex function of the tokens) x what the size is off.

    Convex because a pass is the larger of reading weights and computing tokens. Start: verifying draft tokens at all
    takes time, however few; plain steps have cells of their own, or it could not be told from the rest. Rows: tokens
    decoded or verified have logits, those of prompts none, so prompts would make every draft look cheap. Draft: as
    `LinearCost`. Refitted on every step at first, then every `refit_every` steps; before the first step it answers as
    `LinearCost` would.
    """

    def __init__(self, prior: LinearCoefficients | None = None, refit_every: int = 16, *, trust: float = 0.02) -> None:
        """`trust`: how many observations the proportions of the prior count for."""
        c = prior or HOPEFUL
        self._refit_every, self._steps = refit_every, 0
        self._seen_step, self._prompts_beside = -1, 0
        fixed_s = c.target_delta_s + c.overhead_s
        once = [fixed_s, c.target_alpha_s, c.request_s, c.verify_start_s, c.row_s]
        target = np.array([*once, c.target_gamma_s, *np.zeros(len(KNOTS) - 1)])
        some_s = max(0.05 * fixed_s, 1e-6)
        spread = np.maximum(target, [1e-4, 1e-8, 1e-5, some_s, some_s, *np.full(len(KNOTS), some_s)])
        self._target = Reservoir(target, spread, pull=trust)
        draft = np.array([c.draft_start_s, c.draft_delta_s, c.draft_alpha_s, c.draft_gamma_s, c.catch_up_s])
        self._uneven = Uneven()
        self._draft = Reservoir(draft, np.maximum(draft, [1e-4, 1e-4, 1e-9, 1e-6, 1e-6]), pull=trust)
        self._unpack()

    def step_s(self, load: StepLoad, k: ArrayLike, verify_tokens: ArrayLike) -> FloatArray:
        fixed, context, request, verify_start, row = self._linear
        known = fixed + context * load.context_tokens + request * load.batch
        start, delta, alpha, gamma, catch_up = self._passes
        each = delta + alpha * load.context_tokens + gamma * load.batch
        once = start + catch_up * load.lag_tokens
        rows = np.add(verify_tokens, load.batch)
        tokens = rows + load.prefill_tokens
        target = np.interp(tokens, *self._curve) + (known + row * rows)
        if verify_start:
            target = target + verify_start * np.greater(verify_tokens, 0)
        if self._uneven.known:
            target = target * self._uneven.ratio(tokens)
        if isinstance(k, int):  # the usual question, and a tenth of the price
            return np.asarray(target + (k * each + once if k else 0.0))
        k = np.asarray(k)
        return np.asarray(target + (k * each + (k > 0) * once))

    def observe(self, seen: StepFeedback) -> None:
        """Learn from a step; idle periods and periods without a time teach nothing."""
        verified = int(np.add.reduce(seen.verified))
        decoded = seen.batch + verified
        tokens = decoded + seen.prefill_tokens
        target_s = seen.step_s - seen.draft_s
        if seen.idle or not seen.batch or not 0 < target_s < np.inf or not 0 <= seen.draft_s < np.inf:
            return
        rows = _half_octave(seen.batch)
        x = np.empty(ONCE + len(KNOTS))
        x[:ONCE] = 1.0, seen.context_tokens, seen.batch, verified > 0, decoded
        np.maximum(tokens - KNOTS, 0.0, out=x[ONCE:])
        self._target.add((cell(tokens), rows if verified else -1 - rows), x, target_s)
        prompts = self._prompts_beside if seen.step == self._seen_step + 1 else 0
        self._seen_step, self._prompts_beside = seen.step, seen.prefill_tokens
        if seen.k and seen.draft_s:
            k, lag = seen.k, seen.catch_up_tokens + prompts  # the draft takes the last verify's prompts along
            drafting = np.array([1.0, k, k * seen.context_tokens, k * seen.batch, lag])
            self._draft.add(_draft_shape(k, rows, lag), drafting, seen.draft_s)
        self._steps += 1
        if self._steps <= self._refit_every or self._steps % self._refit_every == 0:
            self._target.refit()
            self._draft.refit()
            self._unpack()

    def _unpack(self) -> None:
        target = self._target.coefficients
        self._linear = tuple(target[:ONCE].tolist())
        at = np.append(KNOTS, FAR)
        self._curve = at, np.maximum(at[:, None] - KNOTS, 0.0) @ target[ONCE:]
        self._passes = tuple(self._draft.coefficients.tolist())
        shapes, residual, weight = self._target.residuals()
        self._uneven.learn(np.array([size for size, _ in shapes], np.int64), residual, weight)

    def snapshot(self) -> dict[str, Any]:
        return {"target": self._target.snapshot(), "draft": self._draft.snapshot(), "steps": self._steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._target.restore(state["target"])
        self._draft.restore(state["draft"])
        self._steps = int(state["steps"])
        self._unpack()

    def explain(self) -> dict[str, Any]:
        names = ("fixed_s", "context_s", "request_s", "verify_start_s", "row_s")
        passes = ("draft_start_s", "draft_delta_s", "draft_alpha_s", "draft_gamma_s", "catch_up_s")
        curve = dict(zip(KNOTS.astype(int).tolist(), self._curve[1].tolist(), strict=False))
        linear = dict(zip(names, self._linear, strict=True))
        drafting = dict(zip(passes, self._passes, strict=True))
        return {"kind": "fitted", **linear, "tokens_s": curve, "uneven": self._uneven.explain(), **drafting}


def _half_octave(count: int) -> int:
    return int(2 * log2(count))


def _draft_shape(k: int, rows: int, lag: int) -> Shape:
    return 64 * k + rows, _half_octave(lag) + 1 if lag else 0
