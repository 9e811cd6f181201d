from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.peak import best_of, is_complete, search


@settings(deadline=None)
@given(st.floats(0.05, 60), st.floats(0.2, 5))
def test_it_finds_the_knee(knee: float, first: float) -> None:
    found = search(lambda rate: 1.0 if rate <= knee else 0.5, 0.9, first, 0.1, 30)
    assert found is not None
    assert found <= knee <= 1.1 * found + 1e-9


def test_a_server_that_never_attains_has_no_peak() -> None:
    tried: list[float] = []

    def never(rate: float) -> float:
        tried.append(rate)
        return 0.0

    assert search(never, 0.9, 1.0, 0.1, 5) is None
    assert len(tried) == 5


def test_a_rate_that_passes_above_one_that_failed_is_no_peak() -> None:
    assert best_of({1.0: 1.0, 2.0: 0.95, 4.0: 0.5, 8.0: 0.92}, 0.9) == 2
    assert best_of({1.0: 0.1}, 0.9) is None


def test_a_peak_below_which_nothing_failed_is_a_lower_bound() -> None:
    assert not is_complete({1.0: 1.0, 2.0: 1.0, 4.0: 1.0}, 0.9, 0.1)
    assert not is_complete({1.0: 1.0, 2.0: 0.5}, 0.9, 0.1)
    assert is_complete({1.0: 1.0, 1.09: 0.5, 2.0: 0.4}, 0.9, 0.1)
    assert not is_complete({1.0: 0.5}, 0.9, 0.1)
