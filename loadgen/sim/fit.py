"""The models a policy starts with: the defaults, having seen an offline profile of the true engine."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from loadgen.sim.rng import generator
from loadgen.sim.truth import Truth
from policies.api import StepFeedback
from policies.estimators import default_models
from policies.models import Models

BATCHES, CONTEXTS, LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256), (128, 1024), (0, 1, 3, 7)


def fitted(truth: Truth, k_max: int) -> Models:
    """Default models whose cost has seen every profiled shape once, without noise."""
    models = default_models(k_max)
    shapes = list(profile(truth, k_max))
    for i in generator(0, "profile").permutation(len(shapes)):  # any order with a trend would teach a drift
        models.cost.observe(shapes[i])
    return models


def profile(truth: Truth, k_max: int) -> Iterator[StepFeedback]:
    """Steps over batches, contexts and K that the engine can hold, each with and without a prompt beside it."""
    room = truth.token_budget
    for batch, context, k in product(BATCHES, CONTEXTS, LENGTHS):
        tokens = batch * (k + 1)
        if batch > truth.seats or k > k_max or tokens > room or batch * context > truth.kv_tokens:
            continue
        yield _step(truth, batch, batch * context, k, 0)
        yield _step(truth, batch, batch * context, k, min(256, room - tokens))


def _step(truth: Truth, batch: int, context_tokens: int, k: int, prefill_tokens: int) -> StepFeedback:
    draft_s = truth.draft_s(k, batch, context_tokens, 0)
    verify_s = truth.verify_s(batch * (k + 1) + prefill_tokens, batch, context_tokens, drafts=k > 0)
    lengths = np.full(batch, k)
    return StepFeedback(
        step=0,
        request_ids=tuple(map(str, range(batch))),
        k=k,
        drafted=lengths,
        verified=lengths,
        accepted=np.zeros(batch, np.int64),
        features={},
        context_tokens=context_tokens,
        prefill_tokens=prefill_tokens,
        draft_s=draft_s,
        verify_s=verify_s,
        step_s=draft_s + verify_s,
    )
