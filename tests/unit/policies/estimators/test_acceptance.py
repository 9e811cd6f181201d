from __future__ import annotations

import numpy as np
import pytest

from policies.estimators.acceptance import ConfidenceProduct, PerPosition
from policies.estimators.calibrated import Calibrated, sigmoid
from policies.estimators.calibration import CalibrationError
from policies.models import AcceptanceModel
from tests.unit.policies.worlds import accept, feedback_of, make_view

pytestmark = pytest.mark.unit


def train(
    model: AcceptanceModel,
    steps: int,
    *,
    bias: float = 0.0,
    slope: float = 1.0,
    batch: int = 8,
    k: int = 4,
    least: float = 0.0,
    seed: int = 0,
) -> None:
    """A draft whose token is accepted with probability sigmoid(bias + slope x), x the logit of its confidence."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        x = rng.normal(0.8, 1.2, (batch, k))
        top1 = sigmoid(x)
        verified = np.logical_and.accumulate(np.cumprod(top1, axis=1) >= least, axis=1).sum(1)
        accepted = accept(rng, sigmoid(bias + slope * x), verified)
        model.observe(feedback_of(make_view(batch), k, verified, accepted, {"top1": top1}))


def test_positions_count_only_what_was_tried() -> None:
    model = PerPosition(4, prior_weight=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(300):
        accepted = accept(rng, np.tile([0.8, 0.6, 0.4, 0.2], (16, 1)), 4)
        model.observe(feedback_of(make_view(16), 4, np.full(16, 4), accepted))
    assert model.rates() == pytest.approx([0.8, 0.6, 0.4, 0.2], abs=0.08)


def test_positions_never_verified_take_the_mean_of_the_others() -> None:
    model = PerPosition(4)
    for _ in range(300):
        model.observe(feedback_of(make_view(8), 2, np.full(8, 2), np.full(8, 2)))
    assert model.rates() == pytest.approx(np.ones(4), abs=0.05)


def test_silence_brings_the_prior_back() -> None:
    model = PerPosition(4, prior=0.7)
    for _ in range(100):
        model.observe(feedback_of(make_view(8), 2, np.full(8, 2), np.zeros(8)))
    assert model.rates()[0] < 0.1
    for _ in range(10_000):
        model.observe(feedback_of(make_view(8), 0, np.zeros(8), np.zeros(8)))
    assert model.rates()[0] > 0.6


def test_rates_recover_within_50_steps_of_a_change_of_domain() -> None:
    model = PerPosition(4)
    train(model, 300, bias=2.0, slope=0.0)
    train(model, 50, bias=-1.0, slope=0.0, seed=1)
    assert model.rates()[0] == pytest.approx(float(sigmoid(np.array(-1.0))), abs=0.12)


GRID = np.array([0.1, 0.3, 0.5, 0.7, 0.9])


@pytest.mark.parametrize(("bias", "slope"), [(0.0, 1.0), (-1.5, 1.0), (0.5, 0.5), (-1.0, 2.0)])
@pytest.mark.parametrize("least", [0.0, 0.4])
def test_calibration_is_learned_whether_or_not_pruning_selects(bias: float, slope: float, least: float) -> None:
    model = Calibrated(8)
    train(model, 400, bias=bias, slope=slope, least=least)
    x = np.log(GRID / (1 - GRID))
    seen = max(least, 0.2) <= GRID  # below, pruning left nothing to learn from
    assert model.confident({"top1": GRID})[seen] == pytest.approx(sigmoid(bias + slope * x)[seen], abs=0.08)
    ece = model.explain()["ece"]
    assert ece is not None
    assert ece < 0.05


def test_calibration_recovers_within_50_steps_of_a_change_of_domain() -> None:
    model = Calibrated(8)
    train(model, 300, bias=1.0)
    train(model, 50, bias=-1.5, seed=1)
    x = np.log(GRID / (1 - GRID))
    assert model.confident({"top1": GRID}) == pytest.approx(sigmoid(-1.5 + x), abs=0.12)


def test_a_surer_draft_is_never_believed_less() -> None:
    model = Calibrated(8)
    train(model, 300, bias=0.0, slope=-1.0)  # the draft is sure of what is wrong
    assert (np.diff(model.confident({"top1": np.linspace(0, 1, 101)})) >= 0).all()


def test_uncalibrated_confidence_shows_its_error() -> None:
    model = ConfidenceProduct(8)
    train(model, 300, bias=-1.5)
    assert model.confident({"top1": GRID}).tolist() == GRID.tolist()
    assert model.explain()["ece"] > 0.15


def test_policies_without_features_still_teach_positions() -> None:
    model = Calibrated(4)
    for _ in range(200):
        model.observe(feedback_of(make_view(8), 2, np.full(8, 2), np.zeros(8)))
    assert model.conditional(make_view(8), 2)[0, 0] < 0.1
    assert model.confident({"top1": np.array([0.7])}) == pytest.approx([0.7], abs=0.01)


def test_calibration_error_by_hand() -> None:
    error = CalibrationError(every=1)
    assert error.value is None
    error.add(np.array([0.95, 0.95, 0.05, 0.05]), np.array([True, False, False, False]))
    assert error.value == pytest.approx((abs(1.9 - 1) + abs(0.1 - 0)) / 4)
