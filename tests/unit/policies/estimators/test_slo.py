from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.estimators.slo import attained, breaks_slo, deadline_s, needed_tokens, predicted_tpot_s, slack_s
from policies.survival import Ranking, prefix_survival
from tests.unit.policies.worlds import make_view

pytestmark = pytest.mark.unit


def test_slack_is_the_time_in_hand() -> None:
    view = make_view(3, emitted_tokens=np.array([11, 11, 1]), tpot_slo_s=np.array([0.05, 0.02, 0.05]))
    view.elapsed_decode_s[2] = 0.0
    assert slack_s(view) == pytest.approx([0.2, -0.1, 0.0])
    assert attained(view).tolist() == [True, False, True]


def test_no_objective_never_binds() -> None:
    view = make_view(2)
    assert np.isinf(slack_s(view)).all()
    assert np.isinf(deadline_s(view, 1.0)).all()
    assert attained(view).all()


def test_a_step_that_ends_on_the_deadline_meets_the_tpot_and_emits_what_was_needed() -> None:
    view = make_view(2, tpot_slo_s=np.array([0.04, 0.05]))
    tokens = np.array([1.5, 3.0])
    deadlines = deadline_s(view, tokens)
    for i, deadline in enumerate(deadlines):
        assert predicted_tpot_s(view, deadline, tokens)[i] == pytest.approx(view.tpot_slo_s[i])
        assert needed_tokens(view, deadline)[i] == pytest.approx(tokens[i])


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6))
def test_broken_shapes_equal_brute_force(batch: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    survival = prefix_survival(rng.random((batch, k)), np.full(batch, k))
    view = make_view(
        batch,
        emitted_tokens=rng.integers(1, 30, batch),
        elapsed_decode_s=rng.random(batch),
        tpot_slo_s=rng.choice([0.02, 0.03, 0.06, np.inf], batch),
    )
    cost_s = 0.03 + np.cumsum(0.005 * rng.random(batch * k + 1))
    plain_s = 0.028
    ranking = Ranking(survival)
    broken = breaks_slo(view, ranking, cost_s, plain_s)
    for n in range(batch * k + 1):
        lengths = ranking.lengths(n)
        tokens = np.array([1 + survival[i, :length].sum() for i, length in enumerate(lengths)])
        over = predicted_tpot_s(view, cost_s[n], tokens) > view.tpot_slo_s
        slower_than_plain = cost_s[n] / tokens > plain_s
        assert broken[n] == (over & slower_than_plain).any(), (n, tokens)
