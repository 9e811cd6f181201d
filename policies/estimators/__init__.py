"""What a step costs, what is accepted, who meets their SLO."""

from __future__ import annotations

from policies.estimators.acceptance import PerPosition
from policies.estimators.cost import LinearCost
from policies.models import Models


def default_models(k_max: int) -> Models:
    """Models for an engine that has no profile: they learn from feedback."""
    return Models(cost=LinearCost(), acceptance=PerPosition(k_max))
