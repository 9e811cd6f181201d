from hypothesis import given
from hypothesis import strategies as st

from policies.fleet.ledger import Ledger, Sent


def test_what_a_report_holds_is_not_counted_again() -> None:
    ledger = Ledger()
    early, later = Sent("r", "a", 1, 100), Sent("r", "b", 2, 50)
    ledger.sent(early, at_s=1.0)
    ledger.sent(later, at_s=2.0)
    assert ledger.unreported("r", reported=0) == (3, 150)
    ledger.reported("r", at_s=1.5)
    assert ledger.unreported("r", reported=1) == (2, 50)
    ledger.done(early, at_s=2.5)
    assert ledger.unreported("r", reported=1) == (1, 50)
    assert (ledger.running("r", "a"), ledger.running("r", "b")) == (0, 2)


def test_a_request_on_its_way_when_the_report_was_made_still_counts() -> None:
    ledger = Ledger()
    ledger.sent(Sent("r", "a", 1, 10), at_s=1.0)
    ledger.reported("r", at_s=1.001)
    assert ledger.unreported("r", reported=0)[0] == 1


def test_a_forgotten_replica_has_nothing_and_its_answers_change_nothing() -> None:
    ledger = Ledger()
    sent = Sent("r", "a", 1, 10)
    ledger.sent(sent, at_s=1.0)
    ledger.forget("r")
    ledger.done(sent, at_s=2.0)
    assert ledger.unreported("r", reported=0) == (0, 0)
    assert ledger.running("r", "a") == 0


def test_an_answer_from_before_it_was_forgotten_frees_nobody_elses_seat() -> None:
    ledger = Ledger()
    before, after = Sent("r", "a", 1, 10), Sent("r", "a", 1, 10)
    ledger.sent(before, at_s=1.0)
    ledger.forget("r")
    ledger.sent(after, at_s=2.0)
    ledger.done(before, at_s=3.0)
    assert ledger.running("r", "a") == 1
    ledger.done(after, at_s=4.0)
    assert ledger.running("r", "a") == 0


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.booleans())))
def test_in_flight_is_what_was_sent_less_what_came_back(steps: list[tuple[int, bool, bool]]) -> None:
    ledger, out = Ledger(), 0
    for at_s, (seats, back, reported) in enumerate(steps):
        sent = Sent("r", "a", seats, 1)
        ledger.sent(sent, at_s)
        out += seats
        if back:
            ledger.done(sent, at_s)
            out -= seats
        if reported:
            ledger.reported("r", at_s)
        assert ledger.running("r", "a") == out
        assert ledger.unreported("r", reported=0)[0] >= out


def test_an_answered_prompt_is_no_work_ahead_though_no_report_comes() -> None:
    """The monitor may be away for a while: what was sent and answered meanwhile is done."""
    ledger = Ledger()
    for at_s in range(100):
        sent = Sent("r", "a", 1, 300)
        ledger.sent(sent, at_s)
        ledger.done(sent, at_s + 0.5)
    assert ledger.unreported("r", reported=0) == (0, 0)


def test_a_prompt_that_a_report_holds_is_not_given_back_twice() -> None:
    ledger = Ledger()
    first, second = Sent("r", "a", 1, 300), Sent("r", "a", 1, 50)
    ledger.sent(first, at_s=1.0)
    ledger.reported("r", at_s=1.5)
    ledger.sent(second, at_s=2.0)
    ledger.done(first, at_s=3.0)
    assert ledger.unreported("r", reported=1) == (0, 50)


def test_an_answered_prompt_takes_nothing_from_anothers() -> None:
    """A report made before the answer is heard after it."""
    ledger = Ledger()
    answered, new = Sent("r", "a", 1, 3000), Sent("r", "a", 1, 500)
    ledger.sent(answered, at_s=1.0)
    ledger.done(answered, at_s=1.2)
    ledger.sent(new, at_s=1.3)
    ledger.reported("r", at_s=1.1)
    assert ledger.unreported("r", reported=0)[1] == 500
