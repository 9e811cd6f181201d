from dataclasses import replace

import numpy as np
import pytest

from policies.exchange import ReplicaReport
from policies.fleet.ledger import Ledger, Sent
from policies.fleet.track import Track, as_of_now, figures, fleet_view

STEP_S, PER_REQUEST_S, PREFILL_TOKENS_PER_S = 0.010, 0.001, 2000.0


def run(batches: list[int], prompts: list[int]) -> Track:
    """Reports of ten steps each, with acceptance of half a token a request and step."""
    track, total = Track(), ReplicaReport(at_s=0.0)
    track = track.seen(total)
    for batch, tokens in zip(batches, prompts, strict=True):
        took_s = 10 * (STEP_S + PER_REQUEST_S * batch) + tokens / PREFILL_TOKENS_PER_S
        total = total.model_copy(
            update={
                "batch": batch,
                "decode_steps": total.decode_steps + 10,
                "request_steps": total.request_steps + 10 * batch,
                "accepted_tokens": total.accepted_tokens + 5 * batch,
                "prefill_tokens": total.prefill_tokens + tokens,
                "step_s": total.step_s + took_s,
            }
        )
        track = track.seen(total)
    return track


def test_the_line_the_gain_and_the_prefill_rate_are_found() -> None:
    batches = np.random.default_rng(0).integers(1, 32, 80).tolist()
    track = run(batches, [0, 400] * 40)
    assert track.trend.at(20) == pytest.approx(0.030, rel=0.01)
    assert track.tokens_per_step == pytest.approx(1.5, rel=0.01)
    assert track.prefill_tokens_per_s == pytest.approx(PREFILL_TOKENS_PER_S, rel=0.02)


def test_an_idle_interval_and_a_restarted_engine_teach_nothing() -> None:
    track = run([4, 4], [0, 0])
    assert track.last is not None
    assert track.seen(track.last) == track
    fresh = ReplicaReport(at_s=9.0)
    assert track.seen(fresh) == replace(track, last=fresh)


def test_the_view_adds_what_was_sent_since_and_the_age() -> None:
    track, ledger = run([4], [0]), Ledger()
    ledger.sent(Sent("b", "x", 2, 70), at_s=1.0)
    both = [figures(name, track, age_s=0.1, seats=8, residence_s=2.0) for name in "ab"]
    view = as_of_now(fleet_view(both), "ab", ledger, np.full(2, 0.2))
    assert view.ahead.tolist() == [4, 6]
    assert view.sent_tokens.tolist() == [0, 70]
    assert view.age_s.tolist() == pytest.approx([0.3, 0.3])
    assert np.isnan(view.free_kv_fraction).all()
    assert as_of_now(fleet_view([]), [], ledger, np.zeros(0)).replicas == 0
