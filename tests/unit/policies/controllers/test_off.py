from __future__ import annotations

import numpy as np
import pytest

from policies.api import HOLDS
from tests.unit.policies.worlds import make, make_view, run_step

pytestmark = pytest.mark.unit


def test_never_drafts() -> None:
    step = run_step(make("off"), make_view(3), np.ones((3, 8)))
    assert step.k == 0
    assert step.lengths.tolist() == [0, 0, 0]
    assert step.plan.holds == HOLDS
