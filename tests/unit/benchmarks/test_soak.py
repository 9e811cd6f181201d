from __future__ import annotations

import pytest

from benchmarks.clients import Request
from benchmarks.soak.__main__ import agree
from benchmarks.soak.load import Mix, Tally
from benchmarks.soak.processes import Sample, growth, name


def request(prompt: str, text: str, *, status: int = 200, temperature: float = 0) -> Request:
    body = {"prompt": prompt, "max_tokens": 2, "temperature": temperature, "stream": False}
    return Request(0.0, body, status=status, text=text, tokens=2, done=status == 200)


def test_a_greedy_answer_that_differs_is_shown_with_where_and_under_which_policy() -> None:
    tally = Tally()
    ended = [request("p", "same"), request("p", "sane"), request("p", "else", temperature=0.8), request("q", "?")]
    tally.take(ended, {"p": "same"}, "fixed")
    assert tally.compared == 2
    (difference,) = tally.differing
    assert (difference["policy"], difference["at_character"], difference["got"]) == ("fixed", 2, "ne")


@pytest.mark.parametrize(
    ("counted", "same"),
    [
        ({}, True),
        ({"answered_200": 3.0}, False),
        ({"engine_finished": 3.0}, False),
        ({"answered_503": 0.0}, False),
    ],
)
def test_the_service_must_have_counted_what_clients_saw(counted: dict[str, float], same: bool) -> None:
    tally = Tally()
    lost = request("p", "", status=503)
    lost.retry_after_s = 1.0
    tally.take([request("p", "a"), request("p", "b"), lost], {}, "off")
    told = {"answered_200": 2.0, "answered_429": 0.0, "answered_503": 1.0, "engine_finished": 2.0}
    assert agree(tally, told | counted) is same


def test_growth_is_a_slope_an_hour_of_processes_that_stayed() -> None:
    steady = [Sample(60.0 * i, "replica", 1, 700 + 0.5 * i, 50) for i in range(60)]
    brief = [Sample(60.0 * i, "worker", 2, 9.0, 5) for i in range(5)]
    (found,) = growth(steady + brief, lambda s: s.rss_mib)
    assert found.name == "replica"
    assert found.per_hour == pytest.approx(30)
    assert found.low <= found.per_hour <= found.high


@pytest.mark.parametrize(
    ("titled", "named"),
    [
        ("ray::ServeReplica:adaspec:Ingress ", "ingress"),
        ("ray::ServeController.listen_for_change ", "ray::ServeController"),
        ("VLLM::EngineCore   ", "VLLM::EngineCore"),
        ("/usr/bin/python3.11 -u /x/dashboard/dashboard.py --host=1", "dashboard.py"),
        ("/x/raylet/raylet --flag", "raylet"),
    ],
)
def test_processes_are_called_by_what_they_do(titled: str, named: str) -> None:
    assert name(titled) == named


def test_the_mix_asks_again_for_what_is_known_and_lets_some_clients_leave() -> None:
    mix = Mix.of(0)
    known = mix.references()
    mix.learn([request(body["prompt"], "text") for body in known])
    drawn = [mix.draw() for _ in range(400)]
    greedy = [body for body, _ in drawn if not body["temperature"]]
    assert {body["prompt"]: body["max_tokens"] for body in greedy}.items() <= {
        body["prompt"]: body["max_tokens"] for body in known
    }.items()
    assert 0.3 < len(greedy) / len(drawn) < 0.5
    assert all(body["stream"] for body, leaves in drawn if leaves)
    assert 0 < sum(leaves is not None for _, leaves in drawn) < 80


def test_a_reference_that_was_not_served_ends_the_soak() -> None:
    with pytest.raises(RuntimeError, match="1 references were not served"):
        Mix.of(0).learn([request("p", "", status=500)])
