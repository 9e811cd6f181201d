import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.sim.acceptance import Confidence, Domain, Recording, draw, entropy, margin, runs
from loadgen.sim.rng import keys

KEYS = keys(7, 2000)


@pytest.mark.parametrize("mean", [0.3, 0.6, 0.9])
def test_the_mean_acceptance_is_the_stated_one(mean: float) -> None:
    domain = Domain(name="d", acceptance=mean)
    where = domain.locations(np.zeros(len(KEYS)), KEYS)
    accepted = [draw(domain, w, key, 40)[0].mean() for w, key in zip(where, KEYS, strict=True)]
    assert np.mean(accepted) == pytest.approx(mean, abs=0.012)


def test_calibrated_confidence_is_the_acceptance_probability_and_a_bias_is_not() -> None:
    accepted, true, top1 = draw(Domain(name="d", acceptance=0.6), 0.5, KEYS[0], 100_000)
    assert np.array_equal(true, top1)
    sure = (top1 > 0.8) & (top1 < 0.9)
    assert accepted[sure].mean() == pytest.approx(top1[sure].mean(), abs=0.015)
    boastful = Domain(name="d", acceptance=0.6, confidence=Confidence(bias=1.5, noise=0.5))
    accepted, _, top1 = draw(boastful, 0.5, KEYS[0], 100_000)
    sure = (top1 > 0.8) & (top1 < 0.9)
    assert accepted[sure].mean() < top1[sure].mean() - 0.1


def test_drift_follows_arrival_time() -> None:
    domain = Domain(name="d", drift=((0, 0.9), (10, 0.3)))
    assert domain.means(np.array([0.0, 5.0, 20.0])) == pytest.approx([0.9, 0.6, 0.3])


def test_a_longer_draw_begins_with_the_shorter_one() -> None:
    short, long = (draw(Domain(name="d"), 0.0, KEYS[3], n)[0] for n in (10, 50))
    assert np.array_equal(short, long[:10])


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_runs_count_accepted_tokens_up_to_the_first_miss(accepted: list[bool]) -> None:
    got = runs(np.array(accepted))
    for i in range(len(accepted)):
        rest = [*accepted[i:], False]
        assert got[i] == rest.index(False)


def test_a_recording_replays_its_outcomes_and_bins_its_probabilities(tmp_path: Path) -> None:
    path = tmp_path / "recorded.jsonl"
    rows = [{"top1": [0.95] * 50 + [0.15] * 50, "accepted": [1] * 50 + [0] * 50}]
    path.write_text("\n".join(json.dumps(r) for r in rows))
    accepted, true, top1 = Recording(path).draw(KEYS[0], 100)
    assert np.array_equal(accepted, top1 > 0.5)
    assert (true[accepted] > 0.95).all()
    assert (true[~accepted] < 0.05).all()


def test_features_of_a_two_token_distribution() -> None:
    p = np.array([0.5, 0.9])
    assert margin(p) == pytest.approx([0, np.log(9)])
    assert entropy(p) == pytest.approx([np.log(2), -0.9 * np.log(0.9) - 0.1 * np.log(0.1)])
    assert np.isfinite(margin(np.array([0.0, 1.0]))).all()
