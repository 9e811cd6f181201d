"""What a client may send that is wrong: each gets an error of OpenAI's shape, and the next request is served."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2 as httpx
import pytest
import pytest_asyncio

from deployments.ingress import Ingress
from deployments.settings import AppArgs
from tests.local.graph import started
from tests.local.served import free_port, served

JSON = {"content-type": "application/json"}
BODY: dict[str, Any] = {"prompt": "p", "max_tokens": 2}
DEEP = 5000
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def application() -> Ingress:
    """One for all: a good request must be served after every bad one."""
    args = AppArgs.model_validate({"engine": {"kind": "fake"}})
    return Ingress(*started(args), args.tracing)


@pytest.fixture
def ingress(application: Ingress) -> Iterator[Ingress]:
    yield application
    application.reconfigure({})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(application: Ingress) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application.__serve_build_asgi_app__())
    async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
        yield client


@pytest.fixture(params=["/v1/completions", "/v1/chat/completions"])
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def body(path: str, **more: Any) -> dict[str, Any]:
    asked = {"messages": [{"role": "user", "content": "p"}]} if "chat" in path else {"prompt": "p"}
    return asked | {"max_tokens": 2} | more


async def served_still(http: httpx.AsyncClient) -> bool:
    return (await http.post("/v1/completions", json=BODY)).status_code == 200


async def refused(http: httpx.AsyncClient, status: int, path: str, **request: Any) -> dict[str, Any]:
    answer = await http.post(path, **request)
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == status
    assert await served_still(http)
    return error


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        b"\xff\xfe\xfa",
        b'{"prompt": "\xff"}',
        b'{"prompt": "a\x00b"}',
        b'{"prompt": "p", "temperature": NaN}',
        b'{"prompt": "p", "temperature": 1e999}',
        b'{"prompt": "\\ud800"}',
        b'{"model": "\\ud800", "prompt": "p"}',
        b'{"\\ud800": 1, "prompt": "p"}',
        b'{"prompt": "p", "seed": ' + b"9" * 5000 + b"}",
        b'{"prompt": "p", "min_tokens": ' + b"9" * 21 + b"}",
        b'{"prompt": ' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"prompt": ' + b"[" * 150 + b"]" * 150 + b"}",
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        b"[]",
        b"null",
        b'"prompt"',
    ],
    ids=lambda raw: raw[:24].hex(),
)
async def test_a_body_that_is_no_json_object(http: httpx.AsyncClient, path: str, raw: bytes) -> None:
    await refused(http, 400, path, content=raw, headers=JSON)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"n": 10**30}, "n"),
        ({"n": -1}, "n"),
        ({"stop": ["s"] * 10_000}, "stop"),
        ({"logprobs": 10**9}, None),
        ({"stream": "false"}, "stream"),
        ({"stream_options": False}, "stream_options"),
        ({"vllm_xargs": [1]}, "vllm_xargs"),
        ({"max_tokens": 10**12}, None),
    ],
    ids=str,
)
async def test_a_field_out_of_bounds(
    http: httpx.AsyncClient, path: str, wrong: dict[str, Any], param: str | None
) -> None:
    error = await refused(http, 400, path, json=body(path, **wrong))
    assert param is None or error["param"] == param


@pytest.mark.parametrize("prompt", ["w " * 100_000, ["p"] * 1000, [[1]] * 1000], ids=["words", "texts", "tokens"])
async def test_a_prompt_that_is_too_much(http: httpx.AsyncClient, prompt: Any) -> None:
    await refused(http, 400, "/v1/completions", json=BODY | {"prompt": prompt})


async def test_a_nul_that_json_escapes_is_text(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.post(path, content=json.dumps(body(path, user="\x00")).encode(), headers=JSON)
    assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/jsonx", "multipart/form-data; boundary=x", ""])
async def test_another_content_type(http: httpx.AsyncClient, path: str, kind: str) -> None:
    await refused(http, 415, path, content=b"{}", headers={"content-type": kind})


async def test_a_body_beyond_the_limit_is_not_read_to_its_end(
    ingress: Ingress, http: httpx.AsyncClient, path: str
) -> None:
    ingress.reconfigure({"max_body_bytes": 1024})
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 1000:
            sent += 1
            yield b"x" * 512

    await refused(http, 413, path, content=endless(), headers=JSON)
    assert sent == 3


async def test_a_body_that_never_ends_has_a_time_limit(ingress: Ingress, http: httpx.AsyncClient, path: str) -> None:
    ingress.reconfigure({"body_timeout_s": 0.05})
    never = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"{"
        await never.wait()

    await refused(http, 408, path, content=stalled(), headers=JSON)


@pytest.mark.parametrize("name", ["x-slo-ttft-ms", "x-slo-tpot-ms"])
@pytest.mark.parametrize(
    "value", ["", "0", "-1", "nan", "inf", "-inf", "1e309", "1e-999", "0x10", "9" * 5000, "5;DROP"]
)
async def test_absurd_objectives(http: httpx.AsyncClient, path: str, name: str, value: str) -> None:
    error = await refused(http, 400, path, json=body(path), headers={name: value})
    assert error["param"] == name
    assert len(error["message"]) < 200


async def test_an_unknown_class_is_quoted_in_part(http: httpx.AsyncClient, path: str) -> None:
    error = await refused(http, 400, path, json=body(path), headers={"x-slo-class": "c" * 5000})
    assert len(error["message"]) < 200


@pytest.mark.parametrize(
    "headers",
    [{"x-long": "h" * 40_000}, {f"x-{i}": "v" * 100 for i in range(500)}, {"authorization": "Bearer " + "t" * 40_000}],
    ids=["one", "many", "token"],
)
async def test_headers_beyond_the_limit(http: httpx.AsyncClient, path: str, headers: dict[str, str]) -> None:
    await refused(http, 431, path, json=body(path), headers=headers)


@pytest.mark.parametrize("name", ["traceparent", "tracestate", "baggage", "x-request-id", "content-encoding", "expect"])
async def test_odd_headers_do_no_harm(http: httpx.AsyncClient, path: str, name: str) -> None:
    for value in (b"", b"\xff\xfe", b"00-0-0-00", b"a=b," * 500):
        answer = await http.post(path, json=body(path), headers=[(name.encode(), value)])
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/nowhere", 404),
        ("POST", "/v1/completions/", 404),
        ("GET", "/v1/completions", 405),
        ("PUT", "/health", 405),
    ],
)
async def test_another_route_or_method(http: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, status)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
    ],
    ids=["noise", "length", "chunk", "left"],
)
async def test_a_client_that_speaks_no_http_or_leaves_halfway(
    ingress: Ingress, http: httpx.AsyncClient, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    async with served(ingress, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        await writer.drain()
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert b" 5" not in answer[:12]
    assert not [r for r in caplog.records if r.exc_info]
    assert await served_still(http)
