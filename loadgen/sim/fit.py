"""The models a policy starts with: what an offline profile of the true engine would give."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy.optimize import nnls

from loadgen.sim.truth import Truth
from policies.estimators import default_models
from policies.estimators.cost import LinearCoefficients, LinearCost
from policies.models import Models

BATCHES, CONTEXTS, LENGTHS = (1, 4, 16, 64, 256), (128, 512, 2048), (1, 2, 4, 8)


def fitted(truth: Truth, k_max: int) -> Models:
    """Default models with the cost fitted to a noiseless profile of `truth`."""
    return Models(LinearCost(profile(truth)), default_models(k_max).acceptance)


def profile(truth: Truth) -> LinearCoefficients:
    """Non-negative least squares of relative error over batches, contexts and tokens a request."""
    shapes = [(b, b * c) for b, c in product(BATCHES, CONTEXTS) if b <= truth.seats and b * c <= truth.kv_tokens]
    verify = [(ctx, b * n, 1.0, truth.verify_s(b * n, b, ctx)) for (b, ctx), n in product(shapes, LENGTHS)]
    draft = [(ctx, b, 1.0, truth.draft.seconds(b, b, ctx)) for b, ctx in shapes]
    target_alpha, target_gamma, target_delta = _line(verify)
    draft_alpha, draft_gamma, draft_delta = _line(draft)
    return LinearCoefficients(
        target_alpha_s=target_alpha,
        target_gamma_s=target_gamma,
        target_delta_s=max(0.0, target_delta - truth.overhead_s),
        draft_alpha_s=draft_alpha,
        draft_gamma_s=draft_gamma,
        draft_delta_s=draft_delta,
        catch_up_s=truth.draft.token_s,
        overhead_s=truth.overhead_s,
    )


def _line(rows: Sequence[tuple[float, float, float, float]]) -> tuple[float, float, float]:
    table = np.array(rows)
    weighted = table[:, :3] / table[:, 3:]
    alpha, gamma, delta = nnls(weighted, np.ones(len(table)))[0]
    return float(alpha), float(gamma), float(delta)
