import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.fleet.margin import Margin


def after(errors_s: list[float]) -> Margin:
    margin = Margin()
    for error_s in errors_s:
        margin = margin.seen(predicted_s=1.0, measured_s=1.0 + error_s)
    return margin


def test_a_steady_delay_is_kept_back_and_an_early_token_is_not() -> None:
    assert after([0.05] * 100).of(1.0) == pytest.approx(0.05, rel=0.02)
    assert after([-0.05] * 100).of(1.0) == 0


def test_scatter_is_kept_back_too() -> None:
    assert after([0.0, 0.1] * 100).of(1.0) == pytest.approx(0.15, abs=0.02)


@given(st.lists(st.floats(-10, 10)), st.floats(0.001, 100))
def test_never_more_than_half_of_the_objective(errors_s: list[float], ttft_slo_s: float) -> None:
    assert 0 <= after(errors_s).of(ttft_slo_s) <= ttft_slo_s / 2
