import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.sim.oracle import best
from loadgen.sim.rng import FloatArray
from loadgen.sim.truth import PRESETS
from loadgen.sim.workload import IntArray


def times(batch: int, preset: str = "cpu_270m", context: int = 100) -> Callable[[int], FloatArray]:
    truth = PRESETS[preset]

    def of(k: int) -> FloatArray:
        tokens = batch + np.arange(batch * k + 1, dtype=np.float64)
        return truth.draft_s(k, batch, context, 0) + truth.verify_each_s(tokens, batch, context)

    return of


def rate(conditional: FloatArray, k: int, lengths: IntArray, batch: int) -> float:
    survival = np.cumprod(conditional, axis=1)
    gained = sum(survival[i, :n].sum() for i, n in enumerate(lengths))
    return float((batch + gained) / times(batch)(k)[int(np.sum(lengths))])


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_it_equals_brute_force(batch: int, k_max: int, seed: int) -> None:
    conditional = np.random.default_rng(seed).uniform(0.05, 1, (batch, k_max))
    k, lengths = best(conditional, np.full(batch, k_max), times(batch))
    every = (
        rate(conditional, k_, np.array(l_), batch)
        for k_ in range(k_max + 1)
        for l_ in itertools.product(range(k_ + 1), repeat=batch)
    )
    assert rate(conditional, k, lengths, batch) == pytest.approx(max(every))


def test_length_limits_hold_and_hopeless_drafts_are_not_made() -> None:
    sure = np.full((4, 5), 0.99)
    k, lengths = best(sure, np.array([0, 1, 2, 5]), times(4, "h100_70b_1b"))
    assert lengths.tolist() == [0, 1, 2, 5]
    assert k == 5
    assert best(np.full((4, 5), 0.01), np.full(4, 5), times(4))[0] == 0
