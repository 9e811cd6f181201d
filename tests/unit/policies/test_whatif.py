import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.estimators import default_models
from policies.whatif import what_if
from tests.unit.policies.worlds import make_view


@given(batch=st.integers(1, 64), k_max=st.integers(1, 8))
def test_it_holds_one_finite_entry_for_every_k_and_more_tokens_for_a_longer_draft(batch: int, k_max: int) -> None:
    found = what_if(default_models(k_max), make_view(batch, k_max=k_max))
    assert len(found.step_s) == len(found.tokens) == k_max + 1
    assert np.isfinite(found.step_s).all()
    assert found.tokens[0] == 1.0
    assert (np.diff(found.tokens) >= 0).all()
    assert found.batch == batch


def test_it_says_what_the_estimators_say() -> None:
    models, view = default_models(3), make_view(2, k_max=3)
    rates = models.acceptance.conditional(view, 3)[0]
    expected = 1 + rates[0] + rates[0] * rates[1]
    assert what_if(models, view).tokens[2] == pytest.approx(float(expected))
