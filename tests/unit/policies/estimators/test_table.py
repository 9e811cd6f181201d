from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from policies.estimators.table import Profile, TableCost
from policies.models import StepLoad

pytestmark = pytest.mark.unit

PROFILE = Profile(
    tokens=(1, 8, 16, 32),
    verify_s=(0.02, 0.03, 0.025, 0.05),
    batch=(1, 16),
    draft_s=(0.001, 0.002),
    draft_start_s=0.001,
)


def test_interpolates_under_a_monotone_envelope() -> None:
    cost = TableCost(PROFILE)
    load = StepLoad(1, 0)
    assert cost.step_s(load, 0, 0) == pytest.approx(0.02)
    assert cost.step_s(load, 0, 15) == pytest.approx(0.03)  # 25 ms was noise: eight tokens took 30
    assert cost.step_s(load, 0, 23) == pytest.approx(0.04)
    assert (np.diff(cost.step_s(load, 0, np.arange(200))) >= 0).all()


def test_goes_on_along_the_last_slope() -> None:
    assert TableCost(PROFILE).step_s(StepLoad(1, 0), 0, 63) == pytest.approx(0.05 + 32 * 0.02 / 16)


def test_draft_passes_cost_by_batch() -> None:
    cost = TableCost(PROFILE)
    one, sixteen = StepLoad(1, 0), StepLoad(16, 0)
    assert cost.step_s(one, 3, 0) - cost.step_s(one, 0, 0) == pytest.approx(0.004)
    assert cost.step_s(sixteen, 3, 0) - cost.step_s(sixteen, 0, 0) == pytest.approx(0.007)


@pytest.mark.parametrize("tokens", [(8, 1, 16, 32), (1, 8, 16), (1, 1, 2, 3)])
def test_sizes_must_rise_and_match(tokens: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="must rise and match"):
        Profile(tokens=tokens, verify_s=(0.1,) * 4, batch=(1, 2), draft_s=(0.1, 0.1))
