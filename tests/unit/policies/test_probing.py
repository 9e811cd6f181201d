from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.probing import ProbeBudget

pytestmark = pytest.mark.unit


@given(st.floats(1e-4, 1), st.floats(1e-3, 1), st.floats(1e-4, 1))
def test_probes_cost_at_most_their_share(share: float, plain_s: float, extra_s: float) -> None:
    budget, spent, time = ProbeBudget(share), 0.0, 0.0
    for _ in range(200):
        time += plain_s
        if budget.afford(plain_s, plain_s + extra_s):
            budget.spend()
            spent += extra_s
    assert spent <= share * time * (1 + 1e-9)


def test_a_dearer_probe_comes_more_rarely() -> None:
    def count(extra_s: float) -> int:
        budget, probes = ProbeBudget(0.01), 0
        for _ in range(1000):
            if budget.afford(0.05, 0.05 + extra_s):
                budget.spend()
                probes += 1
        return probes

    assert count(0.01) > count(0.05) > 0
