"""The application in one process: Serve's local testing mode, the fake engine, and HTTP without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2 as httpx  # the openai client's own
import openai
import pytest

from deployments.ingress import Ingress
from deployments.settings import AppArgs
from tests.local.graph import ended, started


@pytest.fixture
def args() -> AppArgs:
    """Of the application; a module that needs others has its own fixture of this name."""
    return AppArgs.model_validate({"engine": {"kind": "fake"}})


@pytest.fixture
def handles(args: AppArgs) -> Iterator[tuple[Any, Any]]:
    """Handles of one replica and of the monitor."""
    found = started(args)
    yield found
    ended(found[0])


@pytest.fixture
def ingress(handles: tuple[Any, Any], args: AppArgs) -> Ingress:
    return Ingress(*handles, args.tracing)


@pytest.fixture
async def http(ingress: Ingress) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(ingress.__serve_build_asgi_app__())
    async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
        yield client


@pytest.fixture
def client(http: httpx.AsyncClient) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="unused", base_url="http://local/v1", http_client=http, max_retries=0)
