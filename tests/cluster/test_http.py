"""The HTTP surface over a real proxy: shapes, status codes, headers."""

from __future__ import annotations

import json

import pytest

from tests.cluster.service import Service, config, eventually
from tests.cluster.streams import PATH, body, events

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module", autouse=True)
def one_replica(service: Service) -> None:
    service.deploy(config())
    service.ready()


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_streamed_and_whole_answers_say_the_same(service: Service, path: str) -> None:
    given = body(5) | {"messages": [{"role": "user", "content": "p"}]}
    with service.http.stream("POST", path, json=given) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        *parts, done = list(events(response))
    choices = [part["choices"][0] for part in parts if isinstance(part, dict)]
    streamed = "".join(c.get("text") or c["delta"]["content"] for c in choices)
    whole = service.http.post(path, json=given | {"stream": False}).json()
    assert done == "[DONE]"
    assert streamed == (whole["choices"][0].get("text") or whole["choices"][0]["message"]["content"])
    assert whole["usage"]["completion_tokens"] == 5


def test_the_clients_request_id_comes_back_once_and_reaches_the_engine(service: Service) -> None:
    answer = service.http.post(PATH, json=body(1, stream=False), headers={"x-request-id": "mine-1"})
    assert answer.headers.get_list("x-request-id") == ["mine-1"]
    assert answer.json()["id"] == "mine-1"


@pytest.mark.parametrize(
    ("content", "headers", "status", "param"),
    [
        (b"{", {"content-type": "application/json"}, 400, None),
        (b"[]", {"content-type": "application/json"}, 400, None),
        (json.dumps(body() | {"n": 0}).encode(), {"content-type": "application/json"}, 400, "n"),
        (json.dumps(body() | {"n": 99}).encode(), {"content-type": "application/json"}, 400, "n"),
        (json.dumps(body() | {"stream": "maybe"}).encode(), {"content-type": "application/json"}, 400, "stream"),
        (json.dumps(body() | {"model": "other"}).encode(), {"content-type": "application/json"}, 404, None),
        (json.dumps(body(10**6)).encode(), {"content-type": "application/json"}, 400, "max_tokens"),
        (json.dumps(body()).encode(), {"content-type": "text/plain"}, 415, None),
        (b'{"prompt": "' + b"a" * (5 << 20) + b'"}', {"content-type": "application/json"}, 413, None),
    ],
)
def test_a_bad_request_gets_an_openai_error(
    service: Service, content: bytes, headers: dict[str, str], status: int, param: str | None
) -> None:
    answer = service.http.post(PATH, content=content, headers=headers)
    error = answer.json()["error"]
    assert answer.status_code == error["code"] == status
    assert error["param"] == param
    assert error["message"]
    assert error["type"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", PATH, 405), ("GET", "/v1/nothing", 404)])
def test_a_wrong_route_gets_an_openai_error(service: Service, method: str, path: str, status: int) -> None:
    answer = service.http.request(method, path)
    assert answer.status_code == answer.json()["error"]["code"] == status


def test_models_version_health_and_schema_answer(service: Service) -> None:
    assert service.http.get("/v1/models").json()["data"][0]["id"] == "fake"
    assert "version" in service.http.get("/version").json()
    assert service.http.get("/health/live").status_code == 200
    assert "/v1/completions" in service.http.get("/openapi.json").json()["paths"]


def test_metrics_keep_vllms_names_and_add_the_replica(service: Service) -> None:
    (replica,) = [status["replica"] for status in service.replicas()]
    before = service.samples("vllm:generation_tokens_total")
    service.http.post(PATH, json=body(7, stream=False))
    assert service.samples("vllm:generation_tokens_total") == {replica: before[replica] + 7}
    assert service.total("adaspec_reloads_total") >= 1


def test_the_monitor_hears_from_the_replica_and_answers_it(service: Service) -> None:
    (before,) = service.replicas()
    service.http.post(PATH, json=body(3, stream=False))
    eventually(lambda: service.replicas()[0]["received"] == before["received"] + 1, 5)
    (after,) = service.replicas()
    assert after["report"]["policy"] == "fixed"
    assert after["report"]["emitted_tokens"] == before["report"]["emitted_tokens"] + 3


def test_a_body_above_grpcs_usual_message_reaches_the_engine(service: Service) -> None:
    """4 MiB by default: what the ingress has let in would be a 500."""
    service.deploy(config(ingress={"max_body_bytes": 16 << 20}))
    content = json.dumps(body(2, stream=False) | {"user": "u" * (6 << 20)}).encode()
    answered = eventually(lambda: service.http.post(PATH, content=content, headers=JSON).status_code != 413)
    assert answered
    answer = service.http.post(PATH, content=content, headers=JSON)
    assert answer.status_code == 200, answer.text[:200]
