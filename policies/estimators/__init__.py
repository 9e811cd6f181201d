"""What a step costs, what is accepted, who meets their SLO."""

from __future__ import annotations

from policies.estimators.calibrated import Calibrated
from policies.estimators.fitted import FittedCost
from policies.estimators.hybrid import HybridCost
from policies.models import Models


def default_models(k_max: int) -> Models:
    """Models for an engine that has no profile: they learn from feedback."""
    return Models(cost=HybridCost(FittedCost()), acceptance=Calibrated(k_max))
