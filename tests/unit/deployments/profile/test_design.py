from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.profile.design import Limits, again, batches, first_runs, held_out, least_certain
from deployments.profile.shapes import shapes_of
from tests.unit.deployments.profile.machine import LIMITS, rows

limits = st.builds(
    Limits,
    k_max=st.integers(1, 16),
    max_batch=st.integers(1, 300),
    max_model_len=st.integers(512, 8192),
    kv_tokens=st.integers(16_384, 1 << 20),
)


@given(limits, st.integers(0, 99))
def test_every_run_fits_the_engine(given: Limits, seed: int) -> None:
    for run in first_runs(given, seed):
        assert 1 <= run.batch <= given.max_batch
        assert max(run.lengths) == given.k_max
        assert min(run.lengths) == 0
        assert run.context_tokens < given.max_model_len
        assert run.context_tokens <= 96 or run.batch * run.context_tokens <= given.kv_tokens


def test_the_design_covers_batches_contexts_prompts_and_sampling() -> None:
    runs = first_runs(LIMITS, 0)
    assert {run.batch for run in runs} == {1, 2, 3, 4, 6, 8, 12, 16, 24, 32}
    assert any(run.join_every for run in runs)
    assert any(run.temperature for run in runs)
    assert len({run.context_tokens for run in runs}) > 2


@pytest.mark.parametrize("region", [(1, 4), (5, 16), (17, 32)])
def test_every_region_has_batches_to_fit_and_batches_to_test(region: tuple[int, int]) -> None:
    inside = [size for size in batches(32) if region[0] <= size <= region[1]]
    assert {held_out(size) for size in inside} == {True, False}


def test_what_is_least_certain_is_measured_again() -> None:
    found = rows(0.01)
    for i, row in enumerate(found):
        if row[0] == 8 and i % 2:
            row[9] *= 2
    assert least_certain(shapes_of(found)) == 8
    assert again(LIMITS, shapes_of(found), 0).batch == 8
