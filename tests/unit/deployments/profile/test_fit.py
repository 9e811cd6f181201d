from __future__ import annotations

import numpy as np
import pytest

from deployments.profile.design import held_out
from deployments.profile.fit import fit
from deployments.profile.quality import GOAL, by_region
from deployments.profile.shapes import disturbed_share, shapes_of
from policies.estimators.cost import LinearCost
from tests.unit.deployments.profile.machine import TRUE, rows

DRAFT = ("draft_delta_s", "draft_gamma_s", "draft_start_s", "catch_up_s")
FITTED = ("target_gamma_s", "request_s", "verify_start_s", "row_s", *DRAFT, "overhead_s")


def test_known_coefficients_are_recovered() -> None:
    found = fit(shapes_of(rows()))
    assert found.draft_alpha_s == pytest.approx(TRUE.draft_alpha_s, rel=0.3)  # a few microseconds of a step
    for name in (*FITTED, "target_alpha_s", "target_delta_s"):
        assert getattr(found, name) == pytest.approx(getattr(TRUE, name), rel=0.03, abs=1e-10), name


def test_stalled_steps_change_little() -> None:
    found = rows(0.05)
    rng = np.random.default_rng(1)
    for i in rng.choice(len(found), len(found) // 20, replace=False):
        found[i][9] += 0.2  # the machine was elsewhere
    shapes = shapes_of(found)
    cost = LinearCost(fit([s for s in shapes if not held_out(s.batch)]))
    errors = by_region(cost, [s for s in shapes_of(rows()) if held_out(s.batch)])
    assert all(row["median_ape"] <= 0.03 for row in errors.values()), errors


def test_no_coefficient_is_negative_where_there_is_only_noise() -> None:
    assert min(fit(shapes_of(rows(0.8))).model_dump().values()) >= 0


def test_two_runs_predict_alike() -> None:
    shapes = shapes_of(rows())
    first, second = (LinearCost(fit(shapes_of(rows(0.15, seed)))) for seed in (1, 2))
    a, b = (by_region(cost, shapes) for cost in (first, second))
    assert all(abs(a[name]["bias"] - b[name]["bias"]) < 0.08 for name in a)


def test_too_few_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="measure more batches"):
        fit(shapes_of(rows()[:8]))


def test_errors_by_hand() -> None:
    shapes = shapes_of(rows())
    slow = LinearCost(fit(shapes_of(rows(slow=1.2))))
    row = by_region(slow, shapes)["batch 1-4"]
    assert row["median_ape"] == pytest.approx(0.2, abs=0.01)
    assert row["bias"] == pytest.approx(0.2, abs=0.01)
    assert row["median_ape"] > GOAL


def test_time_the_worker_waited_for_a_core_is_not_the_shapes() -> None:
    found, rng = rows(), np.random.default_rng(3)
    for row in found:
        draft_waited, waited = row[7] * rng.random(), row[9] * rng.random()
        row[7] += draft_waited
        row[8] += waited
        row[9] += draft_waited + waited
        row[10:] = [draft_waited, draft_waited + waited]
    assert 0.2 < disturbed_share(found) < 0.4
    errors = by_region(LinearCost(fit(shapes_of(found))), shapes_of(rows()))
    assert all(row["median_ape"] < 0.01 for row in errors.values()), errors


def test_a_term_that_was_never_seen_gets_no_coefficient() -> None:
    found = rows()
    for row in found:
        row[6] = 0
    assert fit(shapes_of(found)).catch_up_s == 0.0
