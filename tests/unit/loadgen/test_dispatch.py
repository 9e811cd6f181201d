import json
import time

import gevent

from loadgen.client import Client, get
from loadgen.dispatch import Clock, Dispatcher
from loadgen.outcome import UNFINISHED, Outcome
from loadgen.scenario import Scenario
from loadgen.schedule import build
from loadgen.table import table
from tests.unit.loadgen.known_server import post
from tests.unit.loadgen.scenarios import scenario


def dispatcher(url: str, spec: Scenario, found: list[Outcome]) -> tuple[Dispatcher, Clock]:
    clock = Clock(time.perf_counter())
    return Dispatcher(build(spec).requests, Client(url, spec, "known", {}), clock, found.append), clock


def received(url: str, count: int) -> int:
    return len(json.loads(get(url, f"/received?count={count}", timeout_s=60)))


def test_a_stall_shows_from_the_intended_start(known_url: str) -> None:
    """Every request goes out while the server answers none: a closed loop would have sent one and waited."""
    spec, found = scenario(duration_s=0.5), list[Outcome]()
    before = received(known_url, 0)
    post(known_url, "/hold")
    sender, clock = dispatcher(known_url, spec, found)
    sender.walk()
    count = len(build(spec).requests)
    received(known_url, before + count)
    assert found == []
    released_s = clock()
    post(known_url, "/release")
    sender.join()
    assert len(found) == count
    rows = table(found, {c.name: c for c in spec.classes})
    stalled_ms = 1e3 * (released_s - rows.at_s)
    assert (rows.ttft_ms >= stalled_ms).all()
    assert rows.ttft_ms[0] > rows.ttft_ms[-1] + 300  # the first one waited longest


def test_what_is_in_flight_at_the_end_is_unfinished(known_url: str) -> None:
    spec, found = scenario(duration_s=0.1), list[Outcome]()
    before = received(known_url, 0)
    post(known_url, "/hold")
    sender, _ = dispatcher(known_url, spec, found)
    sender.walk()
    received(known_url, before + len(build(spec).requests))
    sender.stop()
    post(known_url, "/release")
    assert {o.error for o in found} == {UNFINISHED}
    assert len(found) == len(build(spec).requests)
    assert all(o.sent_s is not None and o.sent_s >= o.at_s for o in found)  # unanswered is not unsent


def test_a_closed_loop_waits_for_its_answers(known_url: str) -> None:
    spec, found = scenario(arrivals={"kind": "closed", "clients": 2, "requests": 6}), list[Outcome]()
    sender, _ = dispatcher(known_url, spec, found)
    sender.loop(2, 0.0)
    spans = sorted((o.at_s, o.end_s or 0.0) for o in found)
    assert len(spans) == 6
    assert all(sum(a <= at < b for a, b in spans) <= 2 for at, _ in spans)


def test_two_walkers_send_each_request_once(known_url: str) -> None:
    spec, found = scenario(duration_s=0.3), list[Outcome]()
    sender, _ = dispatcher(known_url, spec, found)
    gevent.joinall([gevent.spawn(sender.walk), gevent.spawn(sender.walk)])
    sender.join()
    assert sorted(o.id for o in found) == [r.id for r in build(spec).requests]
