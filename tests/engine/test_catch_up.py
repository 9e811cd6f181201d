from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deployments.engine.catch_up import CatchUp
from deployments.engine.draft_kv import DraftCache

TABLES = np.array([[4, 2, 7, 0], [1, 3, 5, 6]], np.int32)


@pytest.mark.parametrize("steps", [0, 1, 3, 7])
def test_steps_that_passed_without_the_draft_leave_a_hole_each(steps: int) -> None:
    cache, computed = DraftCache(num_blocks=8, block_size=4), np.array([9, 12], np.int32)
    cache.mark(np.zeros(2, np.int64), computed.astype(np.int64) + 1, TABLES, filled=True)
    block_table = SimpleNamespace(get_numpy_array=lambda: TABLES)
    batch = SimpleNamespace(req_ids=["a", "b"], num_computed_tokens_cpu=computed, block_table=[block_table])
    runner: Any = SimpleNamespace(input_batch=batch)
    CatchUp(runner, cache, 0).passed(steps)
    assert cache.lag(["a", "b"], computed.astype(np.int64) + 1, TABLES).tolist() == [steps, steps]
