"""Which generators rest, without an engine; that the engine survives is in test_identity.py."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deployments.engine.seeded import SeededWorker


@pytest.mark.parametrize("second_runner", [False, True])
@pytest.mark.parametrize("breaks", [False, True])
def test_generators_of_samples_that_are_thrown_away_rest_for_the_step(
    monkeypatch: pytest.MonkeyPatch, second_runner: bool, breaks: bool
) -> None:
    generators = {0: "a", 1: "b", 3: "of a row that is not in the batch"}
    seen: list[dict[int, str]] = []

    def sample_tokens(self: Any, grammar: Any) -> None:
        seen.append(dict(generators))
        if breaks:
            raise RuntimeError

    (stock,) = SeededWorker.__bases__
    monkeypatch.setattr(stock, "sample_tokens", sample_tokens)
    worker: Any = SeededWorker.__new__(SeededWorker)
    worker.use_v2_model_runner = second_runner
    mask = SimpleNamespace(np=np.array([False, True, True, True]))
    worker.model_runner = SimpleNamespace(
        input_batch=SimpleNamespace(num_reqs=3, generators=generators), discard_request_mask=mask
    )
    before = dict(generators)
    try:
        worker.sample_tokens(None)
    except RuntimeError:
        assert breaks
    assert seen == [before if second_runner else {0: "a", 3: before[3]}]
    assert generators == before
