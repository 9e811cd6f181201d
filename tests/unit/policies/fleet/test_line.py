from hypothesis import given
from hypothesis import strategies as st

from policies.fleet.line import Line, Waiting
from policies.fleet.views import RequestView


def waiting(of: str, arrived_s: float, ttft_slo_s: float, priority: int = 0) -> Waiting[str]:
    return Waiting(RequestView(1, ttft_slo_s, priority=priority), of, arrived_s, of)


def order(line: Line[str], now_s: float) -> list[Waiting[str]]:
    out = []
    while heads := line.heads(now_s):
        out.append(heads[0])
        heads[0].gone = True
    return out


def test_priority_then_deadline_then_the_late() -> None:
    line: Line[str] = Line()
    late, urgent, relaxed = waiting("a", 0, 1), waiting("a", 0, 3), waiting("b", 0, 9)
    patient, vip = waiting("c", 0, float("inf")), waiting("d", 0, 1, priority=1)
    for w in (patient, late, relaxed, urgent, vip):
        line.add(w)
    assert order(line, now_s=2) == [vip, urgent, relaxed, patient, late]
    assert late.late
    assert vip.late  # and still first: priority is above all


def test_a_late_request_asks_for_its_tpot_only() -> None:
    line: Line[str] = Line()
    w = waiting("a", 0, 3)
    line.add(w)
    line.heads(1)
    assert w.now(1).ttft_slo_s == 2
    line.heads(4)
    assert w.now(4).ttft_slo_s == float("inf")


def test_who_left_is_passed_over_and_not_counted() -> None:
    line: Line[str] = Line()
    left, stayed, below = waiting("a", 0, 1, 1), waiting("a", 0, 2, 1), waiting("b", 0, 1)
    for w in (left, stayed, below):
        line.add(w)
    left.gone = True
    assert line.heads(0)[0] is stayed
    assert (line.before(1), line.before(0)) == (1, 2)
    assert line.lengths() == {"a": 1, "b": 1}
    assert line.all() == [stayed, below]
    assert line.heads(0, frozenset("a"))[0] is below


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 10), st.floats(0.1, 10), st.integers(0, 2))))
def test_everybody_comes_out_once_and_the_urgent_before_the_late(seen: list[tuple[str, float, float, int]]) -> None:
    line: Line[str] = Line()
    every = [waiting(f"{of}{priority}", arrived, ttft, priority) for of, arrived, ttft, priority in seen]
    for w in every:
        line.add(w)
    out = order(line, now_s=8)
    assert {id(w) for w in out} == {id(w) for w in every}
    assert [(-w.request.priority, w.late, w.due_s) for w in out] == sorted(
        (-w.request.priority, w.late, w.due_s) for w in every
    )
