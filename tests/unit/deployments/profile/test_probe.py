from __future__ import annotations

import numpy as np

from deployments.profile.probe import COLUMNS, PROBE
from tests.unit.policies.worlds import features_of, feedback_of, make, make_view


def test_it_goes_through_its_lengths_over_and_over() -> None:
    probe = make(PROBE, lengths=[0, 2, 5])
    assert [probe.plan(make_view()).k for _ in range(5)] == [0, 2, 5, 0, 2]


def test_it_keeps_steps_and_every_token_that_was_put_to_the_test() -> None:
    probe = make(PROBE, lengths=[2])
    seen = feedback_of(make_view(2), 2, np.array([2, 1]), np.array([1, 0]), features=features_of(np.full((2, 2), 0.25)))
    probe.feedback(seen)
    found = probe.explain()
    (row,) = found["steps"]
    kept = dict(zip(COLUMNS, row, strict=True))
    assert (kept["batch"], kept["verified_tokens"], kept["accepted_tokens"]) == (2, 3, 1)
    assert kept["step_s"] == seen.step_s
    assert found["tried"] == [("r0", 0, 0.25, True), ("r0", 1, 0.25, False), ("r1", 0, 0.25, False)]
