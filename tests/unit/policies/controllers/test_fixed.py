from __future__ import annotations

import numpy as np
import pytest

from tests.unit.policies.worlds import make, make_view, run_step

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("k", "k_max", "expected"), [(3, 8, 3), (0, 8, 0), (9, 8, 8)])
def test_the_same_k_for_everybody(k: int, k_max: int, expected: int) -> None:
    step = run_step(make("fixed", k=k), make_view(2, k_max=k_max), np.zeros((2, 8)))
    assert step.lengths.tolist() == [expected] * 2
