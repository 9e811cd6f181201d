from __future__ import annotations

import pytest

from deployments.profile.reliability import by_position, reliability
from deployments.profile.tried import Tried
from tests.unit.deployments.profile.machine import tokens


def test_a_draft_that_means_what_it_says_is_calibrated_and_correlates() -> None:
    found = reliability(tokens(20_000))["all"]
    assert found["calibration_error"] < 0.02
    assert found["r_of_bins"] > 0.98
    assert 0.2 < found["r"] < found["r_of_bins"]


def test_overconfidence_is_its_calibration_error() -> None:
    found = reliability([Tried("a", 0, 0.9, i % 2 == 0) for i in range(100)])["all"]
    assert found["calibration_error"] == pytest.approx(0.4)
    assert found["r"] is None  # one confidence: nothing to correlate


def test_domains_are_kept_apart_and_their_spread_reported() -> None:
    upside_down = [Tried("b", t.slot, 1 - t.confidence, t.accepted) for t in tokens()]
    found = reliability(tokens(domain="a") + upside_down)
    assert found["domains"]["a"]["r"] == pytest.approx(-found["domains"]["b"]["r"])
    assert found["spread"]["r"] == [found["domains"]["b"]["r"], found["domains"]["a"]["r"]]


def test_positions_by_hand() -> None:
    tried = [Tried("a", 0, 0.5, True), Tried("a", 0, 0.5, False), Tried("a", 1, 0.5, True)]
    assert by_position(tried, 4) == (0.5, 1.0, 1.0, 1.0)


def test_nothing_tried() -> None:
    assert reliability([])["all"]["tokens"] == 0
    assert by_position([], 2) == (0.0, 0.0)
