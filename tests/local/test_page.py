"""The live page's server side over a real socket: files, events, and nothing while nobody watches."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import pytest

from deployments.ingress import Ingress
from deployments.settings import AppArgs
from tests.local.served import free_port, served, until


@pytest.fixture
def args() -> AppArgs:
    engine = {"kind": "fake", "step_ms": 5, "safe_policy": {"name": "fixed", "params": {"k": 2}}}
    return AppArgs.model_validate({"engine": engine, "tracing": {"exporter": "off"}})


@pytest.fixture
async def web(ingress: Ingress) -> AsyncIterator[httpx.AsyncClient]:
    async with served(ingress, free_port()) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        yield client


async def events(client: httpx.AsyncClient, name: str) -> AsyncIterator[Any]:
    async with client.stream("GET", "/dashboard/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        kind = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind == name:
                yield json.loads(line.removeprefix("data: "))


async def first(client: httpx.AsyncClient, name: str, wanted: Any = bool) -> Any:
    stream = events(client, name)
    try:
        async for event in stream:
            if wanted(event):
                return event
    finally:
        await stream.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_everything_the_page_names_is_served_by_itself(web: httpx.AsyncClient) -> None:
    page = await web.get("/dashboard")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    named = re.findall(r'(?:href|src)="(dashboard/[^"]+)"', page.text)
    script = await web.get("/dashboard/app.js")
    named += [f"dashboard/{name}" for name in re.findall(r'from "\./([^"]+)"', script.text)]
    assert len(named) == 3
    for name in named:
        assert (await web.get(f"/{name}")).status_code == 200
    assert re.findall(r"https?://", page.text + script.text) == []


async def test_frames_show_the_policy_at_work(web: httpx.AsyncClient) -> None:
    body = {"prompt": "p", "max_tokens": 60, "stream": True}
    assert (await web.post("/v1/completions", json=body)).status_code == 200
    seen = await first(web, "frame", lambda frame: frame["replicas"] and frame["replicas"][0]["what_if"])
    (replica,) = seen["replicas"]
    assert (replica["replica"], replica["policy"]) == ("local", "fixed")
    assert len(replica["what_if"]["step_s"]) == 6
    assert seen["classes"]["default"]["finished"] == 1
    assert seen["classes"]["default"]["attained"] == 1


async def test_reloads_are_told(web: httpx.AsyncClient) -> None:
    (applied,) = await first(web, "reloads")
    assert (applied["replica"], applied["ok"]) == ("local", True)
    assert applied["text"].startswith("fixed")


async def test_nobody_watches_when_the_reader_is_gone(web: httpx.AsyncClient, ingress: Ingress) -> None:
    await first(web, "frame")
    await until(lambda: ingress._page.readers == 0)


async def test_a_server_that_stops_does_not_wait_for_its_readers(ingress: Ingress) -> None:
    async with httpx.AsyncClient(timeout=20) as client:
        async with served(ingress, free_port()) as url:
            client.base_url = httpx.URL(url)
            stream = events(client, "frame")
            await anext(stream)
        await until(lambda: ingress._page.readers == 0)
