import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from deployments.observe.speculation import FALLBACKS, REASONS, exposition
from policies.exchange import ReplicaReport


def samples(report: ReplicaReport | None, k_max: int = 3) -> dict[tuple[str, str], float]:
    """By name and the one label's value, if any."""
    families = text_string_to_metric_families(exposition(report, k_max))
    return {(s.name, next(iter(s.labels.values()), "")): s.value for family in families for s in family.samples}


def test_everything_is_there_before_the_first_report_and_counters_are_zero() -> None:
    found = samples(None)
    counters = {key: value for key, value in found.items() if key[0].endswith("_total")}
    assert set(counters.values()) == {0}
    assert {key[1] for key in found if key[0] == "adaspec_steps_total"} == {"0", "1", "2", "3"}
    assert {key[1] for key in found if key[0] == "adaspec_decisions_total"} == set(REASONS)
    assert {key[1] for key in found if key[0] == "adaspec_fallbacks_total"} == set(FALLBACKS)
    assert math.isnan(found["adaspec_step_time_predicted_ratio", ""])


def test_names_and_series_are_the_same_before_and_after() -> None:
    full = ReplicaReport(
        at_s=1.0, k_steps={2: 5}, reasons={"draft": 5}, accepted_at=[3, 1], waiting=2, predicted_over_measured=1.1
    )
    assert {name for name, _ in samples(None)} == {name for name, _ in samples(full)}


def test_figures_of_a_report() -> None:
    report = ReplicaReport(
        at_s=1.0,
        k_last=2,
        verified_tokens=10,
        accepted_tokens=7,
        drafted_tokens=12,
        reasons={"tier": 4},
        fallbacks={"raised:KeyError": 2, "raised:ValueError": 1, "clamped": 1},
        policy="fixed",
        policy_state={"fallback": True},
    )
    found = samples(report)
    assert found["adaspec_rejected_tokens_total", ""] == 3
    assert found["adaspec_decisions_total", "tier"] == 4
    assert found["adaspec_fallbacks_total", "raised"] == 3
    assert found["adaspec_fallback_active", ""] == 1
    assert found["adaspec_policy_info", "fixed"] == 1


@given(st.integers(1, 16), st.lists(st.integers(0, 10**9), max_size=16))
def test_positions_are_padded_to_the_longest_draft(k_max: int, counts: list[int]) -> None:
    found = samples(ReplicaReport(at_s=1.0, reached_at=counts), k_max)
    shown = [found["adaspec_position_reached_total", str(j)] for j in range(k_max)]
    assert shown == (counts + [0] * k_max)[:k_max]
