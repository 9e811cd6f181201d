"""Classes, admission, routing and faults over a real proxy, in shortened forms of the experiments in benchmarks/slo."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest

from tests.cluster.service import Service, config, eventually
from tests.cluster.streams import PATH, body, events
from tests.cluster.test_faults import holder
from tests.faults import victims

CLASSES = [
    {"name": "interactive", "ttft_ms": 1000, "priority": 10, "reserved_slots": 1, "overload": "shed"},
    {"name": "batch", "overload": "queue"},
]
ENGINE = {"step_ms": 20, "max_num_seqs": 2}


def with_classes(replicas: int, engine: dict[str, Any] | None = None) -> dict[str, Any]:
    made = config(replicas=replicas, engine=ENGINE if engine is None else engine)
    ingress = made["applications"][0]["deployments"][0]
    ingress["user_config"] = {"classes": CLASSES, "default_class": "batch"}
    return made


@pytest.fixture
def two(service: Service) -> None:
    service.deploy(with_classes(2))
    service.ready(2)


@pytest.fixture
def one(service: Service) -> None:
    service.deploy(with_classes(1))
    service.ready(1)


def post(service: Service, of: str, tokens: int = 2, **more: Any) -> httpx.Response:
    return service.http.post(PATH, json=body(tokens, stream=False) | more, headers={"x-slo-class": of})


@pytest.mark.usefixtures("one")
def test_objectives_are_echoed_and_counted(service: Service) -> None:
    told = post(service, "interactive").json()["usage"]["adaspec"]
    assert told["attained"] is True
    shown = eventually(lambda: (c := service.http.get("/v1/slo").json()["classes"]["interactive"])["finished"] and c, 5)
    assert shown["attained"] == shown["finished"]
    bad = post(service, "gold")
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "x-slo-class")


@pytest.mark.usefixtures("one")
def test_batch_waits_at_the_door_while_an_interactive_request_finds_its_seat(service: Service, gate: Path) -> None:
    with ThreadPoolExecutor(12) as pool:
        first = pool.submit(post, service, "batch", 2, **body(2, gate=gate, stream=False))
        eventually(lambda: service.total("fake_held") == 1)
        crowd = [pool.submit(post, service, "batch") for _ in range(10)]
        eventually(lambda: service.http.get("/v1/slo").json()["classes"]["batch"]["waiting"] == 10, 5)
        began_s = time.monotonic()
        assert post(service, "interactive").status_code == 200
        took_s = time.monotonic() - began_s
        assert not any(f.done() for f in crowd)
        gate.touch()
        answers = [f.result(30) for f in (first, *crowd)]
    assert took_s < 2
    assert [a.status_code for a in answers] == [200] * 11
    assert min(a.json()["usage"]["adaspec"]["waited_ms"] for a in answers[1:]) > 1


@pytest.mark.usefixtures("one")
def test_refusals_come_as_fast_as_health_and_say_when_to_come_back(service: Service, gate: Path) -> None:
    tight = {"x-slo-class": "interactive", "x-slo-ttft-ms": "1"}
    with ThreadPoolExecutor(4) as pool:
        kept = [pool.submit(post, service, of, 2, **body(2, gate=gate, stream=False)) for of in ("interactive",) * 2]
        eventually(lambda: service.total("fake_held") == 2)
        refused_s, health_s = [], []
        for _ in range(50):
            refused_s.append(timed(lambda: service.http.post(PATH, json=body(), headers=tight), 429))
            health_s.append(timed(lambda: service.http.get("/health"), 200))
        assert not any(f.done() for f in kept)
        gate.touch()
        assert [f.result(30).status_code for f in kept] == [200, 200]
    p90_s = [float(np.percentile(times, 90)) for times in (refused_s, health_s)]
    assert p90_s[0] < 2 * p90_s[1] + 0.02, p90_s


def timed(ask: Any, status: int) -> float:
    began_s = time.monotonic()
    answer = ask()
    assert answer.status_code == status
    assert status == 200 or int(answer.headers["retry-after"]) >= 1
    return time.monotonic() - began_s


def at_the_door(service: Service) -> set[str]:
    """Replicas that admission and routing reckon with."""
    return {seen["replica"] for seen in service.http.get("/v1/slo").json()["replicas"]}


@pytest.mark.usefixtures("two")
def test_a_killed_replica_gets_nothing_more_and_its_unstarted_requests_succeed_elsewhere(
    service: Service, gate: Path
) -> None:
    with ThreadPoolExecutor() as pool:
        unstarted = pool.submit(post, service, "batch", 3, **body(3, gate=gate, stream=False))
        victim, known = holder(service), at_the_door(service)
        os.kill(victim, signal.SIGKILL)
        gate.touch()
        assert unstarted.result(30).status_code == 200
    eventually(lambda: known - at_the_door(service))
    retries = service.total("adaspec_retries_total")
    assert [post(service, "batch").status_code for _ in range(10)] == [200] * 10
    assert service.total("adaspec_retries_total") == retries


@pytest.mark.usefixtures("two")
def test_without_its_monitor_the_door_goes_on_and_the_monitor_learns_again(service: Service, gate: Path) -> None:
    with service.http.stream("POST", PATH, json=body(3, hold_at=1, gate=gate)) as response:
        parts = events(response)
        next(parts)
        victims.kill("monitor")
        assert [post(service, "interactive").status_code for _ in range(10)] == [200] * 10
        gate.touch()
        assert list(parts)[-1] == "[DONE]"
    service.ready(2)

    def admitted() -> bool:  # by the door's own count
        classes = service.http.get("/v1/slo").json().get("classes", {})
        return bool(classes.get("interactive", {}).get("admitted", 0) >= 10)

    assert eventually(admitted, 10)
    assert len(service.http.get("/v1/slo").json()["replicas"]) == 2
