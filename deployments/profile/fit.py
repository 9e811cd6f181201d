"""alpha, gamma and delta of target and draft from measured shapes: robust, non-negative, in relative error."""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares, nnls

from deployments.profile.shapes import Shape
from policies.api import FloatArray
from policies.estimators.cost import LinearCoefficients

OUTLIER = 0.05  # relative error from which an observation counts less and less
SMALL_BATCH = 4


def fit(shapes: list[Shape]) -> LinearCoefficients:
    """Coefficients >= 0 of the linear step-time model (AdaSpec, eq. 5) that explain `shapes`.

    Target and draft are fitted apart, as the engine times them apart.

    Raises:
        ValueError: too few shapes to tell the terms apart.
    """
    drafting = [shape for shape in shapes if shape.k]
    if len(shapes) < 6 or len(drafting) < 5:
        raise ValueError(f"{len(shapes)} shapes measured, {len(drafting)} of them drafting: measure more batches")
    fixed, alpha, request, verify_start, row, gamma = _solve(
        [
            [1, s.context_tokens, s.batch, s.verified_tokens > 0, s.batch + s.verified_tokens, s.pass_tokens]
            for s in shapes
        ],
        [s.step_s - s.draft_s for s in shapes],
        shapes,
    )
    start, delta, draft_alpha, draft_gamma, catch_up = _solve(
        [[1, s.k, s.k * s.context_tokens, s.k * s.batch, s.catch_up_tokens] for s in drafting],
        [s.draft_s for s in drafting],
        drafting,
    )
    overhead = min(_overhead_s(shapes), fixed)
    return LinearCoefficients(
        target_alpha_s=alpha,
        target_gamma_s=gamma,
        target_delta_s=fixed - overhead,
        request_s=request,
        verify_start_s=verify_start,
        row_s=row,
        draft_alpha_s=draft_alpha,
        draft_gamma_s=draft_gamma,
        draft_delta_s=delta,
        draft_start_s=start,
        catch_up_s=catch_up,
        overhead_s=overhead,
    )


def _solve(features: list[list[float]], seconds: list[float], shapes: list[Shape]) -> list[float]:
    """Minimises soft_l1 of (predicted / measured - 1), a shape seen often weighing more, from the NNLS solution."""
    y = np.array(seconds)
    weight = np.sqrt(np.minimum([s.steps for s in shapes], 20))
    rows: FloatArray = np.array(features, np.float64) / y[:, None]
    most = np.abs(rows).max(0)
    scale = np.where(most > 0, most, np.inf)  # what was never seen gets no coefficient
    rows, target = rows / scale * weight[:, None], weight
    first, _ = nnls(rows, target)
    found = least_squares(
        lambda x: rows @ x - target, first + 1e-9, bounds=(0, np.inf), loss="soft_l1", f_scale=OUTLIER * weight.mean()
    )
    return [float(value) for value in found.x / scale]


def _overhead_s(shapes: list[Shape]) -> float:
    """What a step of a small batch spends outside the worker: scheduler, executor, transport."""
    small = [s for s in shapes if s.batch <= SMALL_BATCH] or shapes
    return max(float(np.median([s.step_s - s.draft_s - s.verify_s for s in small])), 0.0)
