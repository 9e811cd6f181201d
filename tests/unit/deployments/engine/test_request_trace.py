from typing import Any

from deployments.engine.request_trace import CHANGES, KEPT, TRACE_KEY, TraceBook
from tests.unit.deployments.engine.fake_loop import OWN, Loop, new_host

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def traced(host_name: str = "fixed", **params: Any) -> Loop:
    loop = Loop(new_host(host_name, **params), batch=2)
    loop.host.traces.scheduled("r1", {TRACE_KEY: PARENT})
    loop.host.traces.scheduled("r0", None)
    return loop


def test_a_finished_request_is_handed_over_once_with_what_became_of_its_drafts() -> None:
    loop = traced(k=2)
    loop.run(5)
    loop.host.traces.finished(["r0", "r1"], "fixed")
    report = loop.report()
    (found,) = report.traced
    assert (found.request_id, found.traceparent, found.policy) == ("r1", PARENT, "fixed")
    assert (found.k_steps, found.reasons, found.drafted_tokens) == ({2: 5}, {"fixed": 5}, 10)
    assert 0 <= found.accepted_tokens <= found.verified_tokens <= found.drafted_tokens
    assert found.scheduled_at_s <= found.first_token_at_s <= found.finished_at_s
    assert loop.report().traced == ()


def test_changes_of_k_are_events_with_their_reason_and_bounded() -> None:
    loop = traced(OWN + "zigzag")
    loop.run(CHANGES + 10)
    loop.host.traces.finished(["r1"], "zigzag")
    (found,) = loop.report().traced
    assert len(found.changes) == CHANGES
    assert [k for _, k, _ in found.changes[:4]] == [1, 2, 1, 2]
    assert sum(found.k_steps.values()) == CHANGES + 10


def test_an_engine_nobody_asks_keeps_no_more_than_so_many() -> None:
    book = TraceBook()
    for i in range(KEPT + 5):
        book.scheduled(f"r{i}", {TRACE_KEY: PARENT})
        book.finished([f"r{i}"], "off")
    assert len(book.take()) == KEPT


def test_a_trace_context_that_is_not_text_is_not_followed() -> None:
    book = TraceBook()
    book.scheduled("r", {TRACE_KEY: 3})
    book.finished(["r"], "off")
    assert book.take() == ()
