import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.engine.lossless import cut_lengths, final_lengths, restricted_rows
from policies.api import Cut, FloatArray, IntArray

Law = tuple[float, float]  # P(token 0), P(token 1)
Lengths = Callable[[int, int, int], int]  # drafted x1, x2, another request's y1 -> verify length

CHANCES = st.sampled_from([0.0, 0.25, 0.5, 0.5, 0.75, 0.9, 1.0])  # a coarse grid: ties are the hard part


@st.composite
def survivals(draw: st.DrawFn) -> FloatArray:
    batch, k = draw(st.integers(0, 4)), draw(st.integers(1, 4))
    chances = draw(st.lists(CHANCES, min_size=batch * k, max_size=batch * k))
    return np.multiply.accumulate(np.array(chances, np.float64).reshape(batch, k), axis=1)


@st.composite
def cuts(draw: st.DrawFn) -> Cut:
    cost_s = draw(st.none() | st.lists(st.sampled_from([1.0, 1.1, 1.5, 2.0, 3.0]), min_size=1, max_size=17))
    return Cut(
        budget_tokens=draw(st.none() | st.integers(0, 17)),
        min_survival=draw(st.none() | CHANCES),
        cost_s=None if cost_s is None else np.array(cost_s),
    )


def kept_slots(cut: Cut, survival: FloatArray, most: IntArray) -> list[tuple[int, int]]:
    """The rule in words: walk the slots in falling survival, earlier slots first, and stop at the first refusal."""
    batch, k = survival.shape
    slots = [(i, j) for i, j in itertools.product(range(batch), range(k)) if j < most[i]]
    slots.sort(key=lambda slot: (-survival[slot], slot[1], slot[0]))
    kept: list[tuple[int, int]] = []
    gained = 0.0
    for slot in slots:
        n = len(kept)
        if n == cut.budget_tokens or survival[slot] < (cut.min_survival or 0.0):
            break
        if cut.cost_s is not None:
            more = gained + survival[slot]
            if n + 1 >= len(cut.cost_s) or (batch + more) / cut.cost_s[n + 1] < (batch + gained) / cut.cost_s[n]:
                break
            gained = more
        kept.append(slot)
    return kept


@given(cuts(), survivals(), st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_a_cut_keeps_what_walking_the_slots_one_by_one_keeps(cut: Cut, survival: FloatArray, most: list[int]) -> None:
    limit = np.array(most[: len(survival)], np.int64)
    lengths = cut_lengths(cut, survival, limit)
    kept = kept_slots(cut, survival, limit)
    assert {(i, j) for i, length in enumerate(lengths) for j in range(length)} == set(kept)
    assert lengths.dtype == np.int64


def test_of_equal_survivals_the_earlier_slot_is_kept() -> None:
    survival = np.full((2, 2), 0.5)
    assert cut_lengths(Cut(budget_tokens=2), survival, np.array([2, 2])).tolist() == [1, 1]
    assert cut_lengths(Cut(budget_tokens=3), survival, np.array([2, 2])).tolist() == [2, 1]


def test_only_the_first_decrease_counts_even_where_more_slots_would_pay_again() -> None:
    cost_s = np.array([1.0, 1.9, 2.0])  # one token lowers tokens per second, two would raise it
    assert cut_lengths(Cut(cost_s=cost_s), np.array([[0.8, 0.72]]), np.array([2])).tolist() == [0]


def test_a_survival_that_is_no_number_is_not_kept() -> None:
    assert cut_lengths(Cut(budget_tokens=9), np.array([[np.nan, np.nan], [0.5, 0.1]]), np.array([2, 2])).tolist() == [
        0,
        2,
    ]


@pytest.mark.parametrize(("sampled", "expected"), [(True, [False, True, True]), (False, [False, False, False])])
def test_only_sampled_drafts_above_temperature_0_are_restricted(sampled: bool, expected: list[bool]) -> None:
    assert restricted_rows(np.array([0.0, 0.1, 1.0]), sampled=sampled).tolist() == expected


def test_a_restricted_request_ignores_the_selection() -> None:
    planned, selected, restricted = np.array([3, 3, 2]), np.array([1, 1, 9]), np.array([False, True, False])
    assert final_lengths(planned, selected, None, restricted).tolist() == [1, 3, 2]
    assert final_lengths(planned, selected, np.array([0, 2, 0]), restricted).tolist() == [1, 2, 2]


# ---- exactness: the law of a request's next two tokens, enumerated over a vocabulary of two -------------------------

P1, Q1 = (0.5, 0.5), (0.8, 0.2)
P2: dict[int, Law] = {0: (0.7, 0.3), 1: (0.4, 0.6)}
Q2: dict[int, Law] = {0: (0.9, 0.1), 1: (0.5, 0.5)}  # the draft is sure after token 0, lost after token 1


def residual(p: Law, q: Law) -> Law:
    excess = [max(a - b, 0.0) for a, b in zip(p, q, strict=True)]
    total = sum(excess)
    return (excess[0] / total, excess[1] / total) if total else p


def emitted_law(lengths: Lengths, p1: Law = P1, q1: Law = Q1) -> dict[tuple[int, int], float]:
    """The law of two tokens; what a step does not decide, the next one samples from the target."""
    law = {(a, b): 0.0 for a in (0, 1) for b in (0, 1)}

    def emit(weight: float, first: int, second: Law) -> None:
        for token in (0, 1):
            law[first, token] += weight * second[token]

    for x1, x2, y1 in itertools.product((0, 1), repeat=3):
        drawn = q1[x1] * Q2[x1][x2] * Q1[y1]
        verify = lengths(x1, x2, y1)
        accept = min(1.0, p1[x1] / q1[x1]) if verify else 0.0
        otherwise = residual(p1, q1) if verify else p1
        for token in (0, 1):
            emit(drawn * (1 - accept) * otherwise[token], token, P2[token])
        hit = min(1.0, P2[x1][x2] / Q2[x1][x2]) if verify > 1 else 0.0
        after = residual(P2[x1], Q2[x1]) if verify > 1 else P2[x1]
        law[x1, x2] += drawn * accept * hit
        emit(drawn * accept * (1 - hit), x1, after)
    return law


def bias(lengths: Lengths) -> float:
    """The largest error of the law against the target's own."""
    law = emitted_law(lengths)
    return max(abs(law[a, b] - P1[a] * P2[a][b]) for a, b in law)


def first_is_0(lengths: Lengths) -> float:
    law = emitted_law(lengths)
    return law[0, 0] + law[0, 1]


def ruled_by(cut: Cut, most: tuple[int, int] = (2, 2)) -> Lengths:
    """`cut` on top-1 confidences, beside another request with a draft of its own."""

    def lengths(x1: int, x2: int, y1: int) -> int:
        confidence = np.array([[max(Q1), max(Q2[x1])], [max(Q1), max(Q2[y1])]])
        survival = np.multiply.accumulate(confidence, axis=1)
        return int(cut_lengths(cut, survival, np.array(most))[0])

    return lengths


@given(cuts(), st.tuples(st.integers(0, 2), st.integers(0, 2)))
def test_no_cut_moves_the_output_distribution(cut: Cut, most: tuple[int, int]) -> None:
    assert bias(ruled_by(cut, most)) < 1e-12


def test_the_cuts_above_really_choose_by_the_draft() -> None:
    lengths = ruled_by(Cut(min_survival=0.6))
    assert {lengths(x1, 0, 0) for x1 in (0, 1)} == {1, 2}


def test_dropping_a_token_by_its_own_probability_is_biased() -> None:
    assert first_is_0(lambda x1, x2, y1: int(Q1[x1] >= 0.5)) == pytest.approx(0.6)


def test_keeping_the_first_slot_by_the_second_ones_confidence_is_biased() -> None:
    assert first_is_0(lambda x1, x2, y1: int(max(Q2[x1]) > 0.8)) == pytest.approx(0.6)


def test_taking_the_best_total_instead_of_the_first_decrease_is_biased() -> None:
    cost_s = np.array([1.0, 1.9, 2.35])

    def best_total(x1: int, x2: int, y1: int) -> int:
        tokens = 1 + np.concatenate(([0.0], np.cumsum(np.cumprod([max(Q1), max(Q2[x1])]))))
        return int(np.argmax(tokens / cost_s))

    assert bias(best_total) > 0.05
    assert bias(ruled_by(Cut(cost_s=cost_s), (2, 0))) < 1e-12
