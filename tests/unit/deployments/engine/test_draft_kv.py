import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.engine.draft_kv import DraftCache, spans
from tests.unit.deployments.engine.kv_world import BLOCK_SIZE, KINDS, NUM_BLOCKS, OPS, Op, Stale, World


def new_cache() -> DraftCache:
    return DraftCache(NUM_BLOCKS, BLOCK_SIZE)


@settings(max_examples=150)
@given(OPS, st.integers(1, 9))
def test_the_draft_never_reads_a_slot_it_has_not_written(ops: list[Op], most_tokens: int) -> None:
    world = World(new_cache(), most_tokens)
    for op in ops:
        world.apply(op)


@given(OPS)
def test_a_draft_that_always_runs_is_never_caught_up(ops: list[Op]) -> None:
    world = World(new_cache())
    for kind, a, b in ops:
        world.apply((kind, 5 if kind == "step" else a, b))
    assert world.caught_up == 0


class Optimist(DraftCache):
    """Believes that every step ran the draft."""

    def mark(self, *args: Any, filled: bool) -> None:
        super().mark(*args, filled=True)


class PerRequest(DraftCache):
    """Believes that blocks from the prefix cache are whole: it knows requests, not slots."""

    def _scan(self, end: int, table: Any) -> int:
        return end


class Elephant(DraftCache):
    """Never forgets a request, whatever became of its blocks."""

    def forget(self, request_ids: Iterable[str]) -> None:
        return None


def run_long(cache: DraftCache) -> None:
    """Long enough for blocks to change hands many times."""
    rng = random.Random(1)  # noqa: S311 - a fixed scramble of operations
    world = World(cache)
    for _ in range(2000):
        world.apply((rng.choice(KINDS), rng.randrange(6), rng.randrange(10)))


def test_blocks_may_change_hands_many_times() -> None:
    run_long(new_cache())


@pytest.mark.parametrize("broken", [Optimist, PerRequest, Elephant])
def test_the_world_notices_a_broken_cache(broken: type[DraftCache]) -> None:
    with pytest.raises(Stale):
        run_long(broken(NUM_BLOCKS, BLOCK_SIZE))


def test_steps_without_the_draft_leave_a_lag_and_one_with_it_closes_it() -> None:
    world = World(new_cache())
    row = world.admit([1, 2, 3, 4])
    world.step(run=True)
    assert world.lag(row) == 0
    world.step(run=False, accepted=1)
    world.step(run=False, accepted=0)
    assert world.lag(row) == 3
    world.step(run=True)
    assert world.caught_up == 3
    assert world.lag(row) == 0


def test_a_hole_is_handed_on_with_its_block() -> None:
    world = World(new_cache())
    first = world.admit(list(range(8)))
    world.step(run=False, chunk=8)
    world.finish(first)
    heir = world.admit(list(range(8)))
    assert heir.computed == 6
    assert world.lag(heir) == 6


def test_what_one_request_filled_serves_those_that_share_its_blocks() -> None:
    world = World(new_cache())
    world.admit(list(range(8)))
    world.step(run=True, chunk=8)
    assert world.lag(world.admit(list(range(8)))) == 0


def test_only_the_part_from_the_first_hole_on_is_missing() -> None:
    cache, table = new_cache(), np.array([[4, 2, 7]], np.int32)
    cache.mark(np.array([0]), np.array([7]), table, filled=True)
    cache.mark(np.array([5]), np.array([1]), table, filled=False)
    assert cache.lag(["a"], np.array([7]), table).tolist() == [2]


def test_a_request_without_a_position_yet_lacks_nothing() -> None:
    assert new_cache().lag(["a"], np.array([0]), np.zeros((1, 3), np.int32)).tolist() == [0]


def test_slots_follow_the_block_table() -> None:
    tables = np.array([[4, 2, 7], [1, 0, 5]], np.int32)
    slots = new_cache().slots(np.array([0, 4, 8, 3]), tables[[0, 0, 0, 1]])
    assert slots.tolist() == [4 * BLOCK_SIZE, 2 * BLOCK_SIZE + 1, 7 * BLOCK_SIZE + 2, 0]
    assert slots.dtype == np.int64  # int32 would overflow on a large cache


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 50)), max_size=6), st.integers(1, 40))
def test_spans_cover_exactly_what_is_missing_in_order(rows: list[tuple[int, int]], most_tokens: int) -> None:
    lags = np.array([lag for lag, _ in rows], np.int64)
    starts = np.array([lag + before for lag, before in rows], np.int64)
    passes = spans(lags, starts, most_tokens)
    covered = [(row, position) for batch in passes for row, a, b in batch for position in range(a, b)]
    assert covered == [(r, p) for r in range(len(rows)) for p in range(starts[r] - lags[r], starts[r])]
    sizes = [sum(b - a for _, a, b in batch) for batch in passes]
    assert all(size == most_tokens for size in sizes[:-1])
    assert all(0 < size <= most_tokens for size in sizes[-1:])
