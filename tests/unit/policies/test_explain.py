"""An operator may ask at any time: also before the first step, and right after a reload that kept what was learned."""

from typing import Any

import pytest

from policies.api import PolicyContext
from policies.estimators import default_models
from policies.registry import CONTROLLERS, PolicySpec, build

WRAPPED = {"probed", "steady"}


@pytest.mark.parametrize("name", sorted(CONTROLLERS))
def test_every_policy_explains_itself_before_its_first_plan(name: str) -> None:
    params: dict[str, Any] = {"policy": {"name": "slo_goodput"}} if name in WRAPPED else {}
    context = PolicyContext(4, default_models(4))
    first, second = (build(PolicySpec(name=name, params=params), context) for _ in range(2))
    second.restore(first.snapshot())
    assert set(first.explain()) == set(second.explain()) >= {"params", "state"}
