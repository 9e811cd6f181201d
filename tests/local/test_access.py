"""Tokens, the operator's routes, CORS, and what logs must not hold."""

import logging
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from deployments.ingress import Ingress
from deployments.settings import AppArgs
from tests.local.graph import started

TOKEN, OTHER = "first-token-0123456789", "second-token-0123456789"
BODY = {"prompt": "a secret prompt", "max_tokens": 2}
OPERATORS = ["/v1/policy", "/v1/replicas", "/v1/slo", "/metrics", "/dashboard", "/dashboard/app.js"]
PUBLIC = ["/health", "/health/live", "/version", "/openapi.json"]


@pytest.fixture(scope="module")
def handles() -> tuple[Any, Any]:
    return started(AppArgs.model_validate({"engine": {"kind": "fake"}}))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"{TOKEN}\n{OTHER}\n")
    return path


async def asked(http: httpx.AsyncClient, authorization: str | None) -> int:
    headers = {} if authorization is None else {"authorization": authorization}
    return (await http.post("/v1/completions", json=BODY, headers=headers)).status_code


async def test_only_a_known_token_passes(ingress: Ingress, http: httpx.AsyncClient, file: Path) -> None:
    assert await asked(http, None) == 200
    ingress.reconfigure({"access": {"tokens_file": str(file)}})
    for token in (TOKEN, OTHER):
        assert await asked(http, f"Bearer {token}") == 200
    for wrong in (None, "", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"):
        assert await asked(http, wrong) == 401
    refused = await http.get("/v1/models")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["error"]["type"] == "AuthenticationError"


async def test_probes_need_no_token_and_operators_do(ingress: Ingress, http: httpx.AsyncClient, file: Path) -> None:
    ingress.reconfigure({"access": {"tokens_file": str(file)}})
    assert {(await http.get(path)).status_code for path in PUBLIC} == {200}
    assert {(await http.get(path)).status_code for path in OPERATORS} == {401}
    known = {"authorization": f"Bearer {TOKEN}"}
    assert {(await http.get(path, headers=known)).status_code for path in OPERATORS} == {200}


@pytest.mark.parametrize(("admin", "status"), [("open", 200), ("closed", 404)])
async def test_the_operators_routes_open_and_close_apart(
    ingress: Ingress, http: httpx.AsyncClient, file: Path, admin: str, status: int
) -> None:
    ingress.reconfigure({"access": {"tokens_file": str(file), "admin": admin}})
    assert {(await http.get(path)).status_code for path in OPERATORS} == {status}
    assert await asked(http, None) == 401
    assert await asked(http, f"Bearer {TOKEN}") == 200


@pytest.mark.parametrize("odd", ["%0A", "%00", "%0D", "%C2%85"])
async def test_a_path_with_what_nobody_can_see_opens_nothing(
    ingress: Ingress, http: httpx.AsyncClient, odd: str
) -> None:
    """A route's pattern ends before a newline too."""
    ingress.reconfigure({"access": {"admin": "closed"}})
    assert {(await http.get(path + odd)).status_code for path in OPERATORS} == {404}


async def test_tokens_from_the_environment_change_on_reload(
    ingress: Ingress, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"access": {"tokens_env": "TOKENS"}}
    for now, before in ((TOKEN, OTHER), (OTHER, TOKEN)):
        monkeypatch.setenv("TOKENS", now)
        ingress.reconfigure(config)
        assert (await asked(http, f"Bearer {now}"), await asked(http, f"Bearer {before}")) == (200, 401)


@pytest.mark.parametrize("text", [None, b"", b" \n", b"short", b"\xff" * 20])
async def test_a_source_without_tokens_opens_nothing(
    ingress: Ingress, http: httpx.AsyncClient, file: Path, tmp_path: Path, text: bytes | None
) -> None:
    bad = tmp_path / "bad"
    if text is not None:
        bad.write_bytes(text)
    ingress.reconfigure({"access": {"tokens_file": str(bad)}})
    assert await asked(http, None) == 503
    assert (await http.get("/health/live")).status_code == 200
    ingress.reconfigure({"access": {"tokens_file": str(file)}})
    ingress.reconfigure({"access": {"tokens_file": str(bad)}})
    assert (await asked(http, None), await asked(http, f"Bearer {TOKEN}")) == (401, 200)


@pytest.mark.parametrize("access", [{"admin": "maybe"}, {"tokens_env": ""}, {"token": TOKEN}])
async def test_a_first_config_with_broken_access_opens_nothing(
    ingress: Ingress, http: httpx.AsyncClient, access: dict[str, str]
) -> None:
    ingress.reconfigure({"access": access})
    assert await asked(http, None) == 503


async def test_no_other_origin_is_let_in(http: httpx.AsyncClient) -> None:
    origin = {"origin": "http://elsewhere", "access-control-request-method": "POST"}
    preflight = await http.options("/v1/completions", headers=origin)
    answer = await http.post("/v1/completions", json=BODY, headers=origin)
    assert (preflight.status_code, preflight.headers["allow"], answer.status_code) == (405, "POST", 200)
    assert not [name for r in (preflight, answer) for name in r.headers if name.startswith("access-control")]


async def test_logs_hold_neither_prompts_nor_tokens(
    ingress: Ingress, http: httpx.AsyncClient, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ingress.reconfigure({"access": {"tokens_file": str(file)}})
    known = {"authorization": f"Bearer {TOKEN}"}
    bodies = [BODY, BODY | {"stream": True}, BODY | {"n": 99}, BODY | {"max_tokens": "?"}, BODY | {"stop": [1]}]
    for body in bodies:
        await http.post("/v1/completions", json=body, headers=known)
    await http.post("/v1/completions", content=b'{"prompt": "a secret prompt', headers=known)
    await http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "a secret prompt"}]})
    assert caplog.records
    for record in caplog.records:
        said = record.getMessage() + str(record.exc_info) + str(record.args)
        assert not [secret for secret in ("secret prompt", TOKEN, OTHER) if secret in said]
