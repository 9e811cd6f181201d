"""A machine whose step times are known, measured as the analyzer would measure a real one."""

from __future__ import annotations

import numpy as np

from deployments.profile.design import BLOCK_STEPS, Limits, first_runs
from deployments.profile.tried import Tried
from policies.estimators.cost import LinearCoefficients, LinearCost
from policies.models import StepLoad

LIMITS = Limits(k_max=5, max_batch=32, max_model_len=1024, kv_tokens=32_768)
TRUE = LinearCoefficients(
    target_alpha_s=2e-7, target_gamma_s=2.3e-4, target_delta_s=4.8e-3, request_s=1e-4, verify_start_s=8e-4, row_s=1e-4
)


def rows(noise: float = 0.0, seed: int = 0, slow: float = 1.0) -> list[list[float]]:
    """Steps of the first runs: `probe.COLUMNS`. `noise` is the deviation of each step's time, `slow` scales them."""
    rng, cost = np.random.default_rng(seed), LinearCost(TRUE)
    found = []
    for run in first_runs(LIMITS, seed):
        for step in range(run.steps):
            k = run.lengths[step % len(run.lengths)]
            verified, lag = run.batch * k, run.batch * BLOCK_STEPS * (k > 0 and step % BLOCK_STEPS == 0)
            prompt = 64 * (run.join_every > 0 and step % run.join_every == 0)
            load = StepLoad(run.batch, run.batch * (run.context_tokens + step), prompt, lag)
            plain_s = float(cost.step_s(StepLoad(run.batch, load.context_tokens, prompt), 0, verified))
            factor = slow * float(rng.normal(1.0, noise))
            step_s, draft_s = float(cost.step_s(load, k, verified)), float(cost.step_s(load, k, verified)) - plain_s
            times = (factor * draft_s, factor * (plain_s - TRUE.overhead_s), factor * step_s)
            found.append([run.batch, k, verified, 0, load.context_tokens, prompt, lag, *times, 0.0, 0.0])
    return found


def tokens(count: int = 3000, seed: int = 0, domain: str = "prose") -> list[Tried]:
    """Draft tokens accepted as often as the draft is sure."""
    rng = np.random.default_rng(seed)
    sure = rng.beta(4, 2, count)
    hits = rng.random(count) < sure
    return [Tried(domain, i % 5, float(c), bool(h)) for i, (c, h) in enumerate(zip(sure, hits, strict=True))]
