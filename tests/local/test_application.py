"""The parts working together in one process."""

from typing import Any

import httpx2 as httpx
import pytest

from deployments.ingress import Ingress
from tests.local.scraped import scraped

BODY = {"prompt": "p", "max_tokens": 2}


async def test_health_version_and_schema(http: httpx.AsyncClient) -> None:
    assert (await http.get("/health")).status_code == 200
    assert (await http.get("/health/live")).status_code == 200
    assert "adaspec-serve" in (await http.get("/version")).json()
    assert "/v1/chat/completions" in (await http.get("/openapi.json")).json()["paths"]


async def test_an_ingress_whose_door_knows_of_nobody_is_not_ready(
    ingress: Ingress, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingress._door, "staffed", lambda: False)
    assert (await http.get("/health")).status_code == 503
    ingress.reconfigure({"admission": False})
    assert (await http.get("/health")).status_code == 200


async def test_a_reload_is_shown_by_v1_policy_and_a_bad_one_is_not_applied(
    handles: tuple[Any, Any], http: httpx.AsyncClient
) -> None:
    replicas, monitor = handles
    await replicas.reconfigure.remote({"policy": {"name": "fixed", "params": {"k": 2}}})
    await replicas.reconfigure.remote({"policy": {"name": "nosuch"}})
    await monitor.exchange.remote(await replicas.status.remote())
    (shown,) = (await http.get("/v1/policy")).json()["replicas"]
    assert shown["policy"] == {"name": "fixed", "params": {"k": 2}}
    assert shown["last_rejection"]["problems"][0]["field"] == "policy.name"
    assert (shown["reloads_applied"], shown["reloads_rejected"]) == (1, 1)


async def test_the_monitors_outlook_reaches_the_engine(handles: tuple[Any, Any], http: httpx.AsyncClient) -> None:
    replicas, monitor = handles
    status = await replicas.status.remote()
    assert (await monitor.exchange.remote(status)).outlook.at_s > 0
    (seen,) = (await http.get("/v1/replicas")).json()["replicas"]
    assert seen["status"]["replica"] == "local"


async def test_metrics_join_ingress_and_replica(http: httpx.AsyncClient) -> None:
    await http.post("/v1/completions", json=BODY)
    text = await scraped(http)
    assert 'adaspec_responses_total{route="/v1/completions",status="200"} 1.0' in text
    assert 'vllm:generation_tokens_total{replica="local",model_name="fake"} 2' in text


@pytest.mark.parametrize(("config", "status"), [({"max_body_bytes": 1024}, 413), ({"max_choices": 1}, 400)])
async def test_the_ingress_takes_a_new_config_at_once(
    ingress: Ingress, http: httpx.AsyncClient, config: dict[str, int], status: int
) -> None:
    body = BODY | {"n": 2, "prompt": "x" * 2000}
    assert (await http.post("/v1/completions", json=body)).status_code == 200
    ingress.reconfigure(config)
    assert (await http.post("/v1/completions", json=body)).status_code == status


async def test_a_bad_ingress_config_is_shown(ingress: Ingress, http: httpx.AsyncClient) -> None:
    ingress.reconfigure({"attempts": 0})
    problems = (await http.get("/v1/replicas")).json()["ingress_rejection"]["problems"]
    assert problems[0]["field"] == "attempts"
