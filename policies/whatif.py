"""What each K would bring at the load of the moment: the estimators made visible to operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from policies.exchange import WhatIf
from policies.models import Models, StepLoad

if TYPE_CHECKING:
    from policies.api import StepView


def what_if(models: Models, view: StepView) -> WhatIf:
    """Step time and tokens per request for every uniform K in 0..k_max, nothing pruned and no prompt beside it.

    tokens(K) = 1 + sum over j <= K of the mean survival of slot j (Leviathan et al., arXiv 2211.17192, eq. 1, with
    rates by position); TPOT(K) = step(K) / tokens(K).
    """
    k = np.arange(view.k_max + 1)
    whole = StepLoad.of(view)
    load = StepLoad(whole.batch, whole.context_tokens, 0, 0)
    step_s = np.broadcast_to(models.cost.step_s(load, k, k * load.batch), k.shape)
    survival = np.cumprod(models.acceptance.conditional(view, view.k_max), axis=1).mean(axis=0)
    tokens = 1.0 + np.concatenate(([0.0], np.cumsum(survival)))
    return WhatIf(batch=load.batch, step_s=tuple(step_s.tolist()), tokens=tuple(tokens.tolist()))
