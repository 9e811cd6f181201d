import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.observe.outcomes import KEPT, Outcome, Outcomes


def outcome(*, ttft: bool = True, tpot: bool = True, tokens: int = 10, tpot_s: float | None = 0.02) -> Outcome:
    return Outcome("chat", 0.1, tpot_s, 0.3, tokens, ttft_attained=ttft, tpot_attained=tpot)


def test_each_objective_counts_by_itself_and_goodput_wants_both() -> None:
    seen = Outcomes()
    for one in (outcome(), outcome(ttft=False), outcome(tpot=False)):
        seen.finished(one)
    text = seen.exposition()
    for objective in ("ttft", "tpot"):
        for attained, count in (("true", 2.0), ("false", 1.0)):
            labels = f'attained="{attained}",objective="{objective}",slo_class="chat"'
            assert f"adaspec_slo_objectives_total{{{labels}}} {count}" in text
    assert 'adaspec_goodput_tokens_total{slo_class="chat"} 10.0' in text
    assert 'adaspec_output_tokens_total{slo_class="chat"} 30.0' in text


def test_a_class_is_there_at_zero_before_its_first_request() -> None:
    seen = Outcomes()
    seen.expect(["batch"])
    text = seen.exposition()
    assert 'adaspec_goodput_tokens_total{slo_class="batch"} 0.0' in text
    assert 'gen_ai_server_time_per_output_token_seconds_count{slo_class="batch"} 0.0' in text


def test_recent_outcomes_by_class() -> None:
    seen = Outcomes()
    seen.finished(outcome())
    seen.finished(outcome(tpot=False, tpot_s=0.04))
    recent = seen.recent(10)["chat"]
    assert (recent.finished, recent.attained, recent.goodput) == (2, 0.5, 1.0)
    assert recent.tpot_p50_ms == pytest.approx(30)
    assert seen.recent(0) == {}


def test_a_single_token_has_no_tpot() -> None:
    seen = Outcomes()
    seen.finished(outcome(tpot_s=None))
    assert seen.recent(10)["chat"].tpot_p90_ms is None


def test_memory_is_bounded() -> None:
    seen = Outcomes()
    for _ in range(KEPT + 10):
        seen.finished(outcome())
    assert seen.recent(1e9)["chat"].finished == KEPT


@given(st.lists(st.floats(1e-4, 10), min_size=1, max_size=50))
def test_quantiles_are_numpys(tpots_s: list[float]) -> None:
    seen = Outcomes()
    for tpot_s in tpots_s:
        seen.finished(outcome(tpot_s=tpot_s))
    recent = seen.recent(10)["chat"]
    p50, p90 = 1e3 * np.quantile(tpots_s, (0.5, 0.9))
    assert recent.tpot_p50_ms == pytest.approx(p50, abs=0.01)
    assert recent.tpot_p90_ms == pytest.approx(p90, abs=0.01)
