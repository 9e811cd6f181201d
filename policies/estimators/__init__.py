"""What a step costs, what is accepted, who meets their SLO."""

from __future__ import annotations

from policies.estimators.calibrated import Calibrated
from policies.estimators.cost import LinearCoefficients
from policies.estimators.fitted import FittedCost
from policies.estimators.hybrid import HybridCost
from policies.models import Models

MEASURED = 4.0
"""Observations a profile's proportions count for: shapes not seen yet keep them."""


def default_models(k_max: int, profile: LinearCoefficients | None = None) -> Models:
    """Models that learn from feedback, the cost from `profile` on where one was measured."""
    cost = FittedCost() if profile is None else FittedCost(profile, trust=MEASURED)
    return Models(cost=HybridCost(cost), acceptance=Calibrated(k_max))
