from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls as reference

from policies.estimators.nnls import nnls

pytestmark = pytest.mark.unit


@given(st.integers(1, 12), st.integers(0, 10**6), st.booleans())
def test_equals_scipy(p: int, seed: int, warm: bool) -> None:
    rng = np.random.default_rng(seed)
    a, y = rng.normal(size=(p + 8, p)), rng.normal(size=p + 8)
    start = np.maximum(rng.normal(size=p), 0.0) if warm else np.zeros(p)
    found = nnls(a.T @ a, a.T @ y, start)
    assert (found >= 0).all()
    assert found == pytest.approx(reference(a, y)[0], abs=1e-6)
