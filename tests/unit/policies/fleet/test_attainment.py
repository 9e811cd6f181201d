import pytest

from policies.fleet.attainment import Share, worst


def test_a_share_forgets() -> None:
    share = Share().later(0, 10, finished=10, attained=10)
    assert share.value == 1
    missed = share.later(10, 10, finished=10)
    assert missed.value == pytest.approx(0.27, abs=0.01)
    assert share.later(1000, 10).value is None


def test_the_worst_class_counts_and_a_silent_one_does_not() -> None:
    assert worst({"a": Share(10, 9), "b": Share(10, 5), "c": Share()}) == 0.5
    assert worst({"c": Share()}) is None
