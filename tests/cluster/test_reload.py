"""A policy is swapped while requests run; a config that cannot be used changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.service import Service, config, eventually
from tests.cluster.streams import PATH, body, events

GOOD = {"name": "fixed", "params": {"k": 2}}


def of_all(service: Service, name: str, replicas: int) -> list[dict[str, Any]]:
    """What every replica says of its policy, once that is the policy `name` everywhere."""
    shown = service.policies()
    return shown if [p["policy"]["name"] for p in shown] == [name] * replicas else []


@pytest.fixture(autouse=True)
def two_replicas(service: Service) -> None:
    service.deploy(config(replicas=2))
    service.ready(2)
    eventually(lambda: all(p["policy"] == GOOD for p in service.policies()))


def test_a_new_policy_is_live_on_every_replica_and_in_a_stream_under_way(service: Service, gate: Path) -> None:
    pids = service.pids()
    with service.http.stream("POST", PATH, json=body(4, hold_at=2, gate=gate)) as response:
        parts = events(response)
        before = [next(parts), next(parts)]
        accepted_at_s = service.reload(policy={"name": "off", "params": {}})
        shown = eventually(lambda: of_all(service, "off", 2))
        gate.touch()
        *after, done = list(parts)
    assert done == "[DONE]"
    assert [p["system_fingerprint"] for p in before if isinstance(p, dict)] == ["fixed{'k': 2}"] * 2
    assert [p["system_fingerprint"] for p in after if isinstance(p, dict)] == ["off{}"] * 2
    assert service.pids() == pids
    took_s = max(p["policy_at_s"] for p in shown) - accepted_at_s
    assert took_s < 2, took_s  # 0.5 s on a machine with nothing else to do


def test_a_reload_refuses_no_request_even_with_one_replica(service: Service) -> None:
    service.deploy(config(replicas=1))
    service.ready(1)
    for name in ("off", "fixed"):
        service.reload(policy={"name": name})
        statuses = {service.http.post(PATH, json=body(1, stream=False)).status_code}
        while not of_all(service, name, 1):
            statuses.add(service.http.post(PATH, json=body(1, stream=False)).status_code)
        assert statuses == {200}


def test_a_replica_that_is_stopped_is_not_shown_any_more(service: Service) -> None:
    service.deploy(config(replicas=1))
    service.ready(1)
    answer = eventually(lambda: len(found := service.http.get("/v1/policy").json()["replicas"]) == 1 and found, 10)
    assert not answer[0]["stale"]


def test_other_parameters_keep_what_was_learned(service: Service) -> None:
    for _ in range(8):
        service.http.post(PATH, json=body(5, stream=False))
    learned = eventually(lambda: sum(p["state"]["state"]["tokens"] for p in service.policies()))
    service.reload(policy={"name": "fixed", "params": {"k": 4}})
    eventually(lambda: all(p["policy"]["params"] == {"k": 4} for p in service.policies()))
    assert sum(p["state"]["state"]["tokens"] for p in service.policies()) >= learned > 0


@pytest.mark.parametrize(
    ("user_config", "field"),
    [
        ({"policy": {"name": "nosuch"}}, "policy.name"),
        ({"policy": {"name": "no.such.module:Thing"}}, "policy.name"),
        ({"policy": {"name": "fixed", "params": {"k": "many"}}}, "policy.params.k"),
        ({"policy": {"name": "fixed", "params": {"k": -1}}}, "policy.params.k"),
        ({"policy": {"name": "fixed", "params": {"kk": 1}}}, "policy.params.kk"),
        ({"policy": GOOD, "colour": "blue"}, "colour"),
        ({"policy": "fixed"}, "policy"),
    ],
)
def test_a_bad_edit_changes_nothing_and_is_shown(service: Service, user_config: dict[str, Any], field: str) -> None:
    pids, refused = service.pids(), service.total("adaspec_reloads_total", outcome="rejected")
    service.reload(**user_config)
    shown = eventually(lambda: all(p["last_rejection"] for p in service.policies()) and service.policies())
    for policy in shown:
        (problem,) = policy["last_rejection"]["problems"]
        assert problem["field"] == field
        assert problem["fix"]
        assert policy["policy"] == GOOD
    assert service.total("adaspec_reloads_total", outcome="rejected") == refused + 2
    assert service.http.post(PATH, json=body(1, stream=False)).json()["system_fingerprint"] == "fixed{'k': 2}"
    assert service.pids() == pids


def test_a_users_own_policy_by_import_path(service: Service) -> None:
    service.reload(policy={"name": "tests.cluster.own_policy:half"})
    eventually(lambda: all(p["policy"]["name"] == "tests.cluster.own_policy:half" for p in service.policies()))
    answer = service.http.post(PATH, json=body(1, stream=False)).json()
    assert answer["system_fingerprint"] == "tests.cluster.own_policy:half{}"


def test_a_replica_that_starts_under_a_bad_config_serves_with_its_safe_default(service: Service) -> None:
    service.deploy(config(replicas=1))
    service.ready(1)
    service.reload(policy={"name": "nosuch"})
    application = service.config["applications"][0]
    application["deployments"][-1]["num_replicas"] = 2
    service.deploy(service.config)
    service.ready(2)
    named = eventually(lambda: len(found := sorted(p["policy"]["name"] for p in service.policies())) == 2 and found)
    assert named == ["fixed", "off"]
    assert service.http.post(PATH, json=body(1, stream=False)).status_code == 200
