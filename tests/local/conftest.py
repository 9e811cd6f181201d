"""The application in one process: Serve's local testing mode, the fake engine, and HTTP without a socket."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx  # the openai client's own
import openai
import pytest
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.ingress import Ingress
from deployments.load_monitor import LoadMonitor
from deployments.replica import Replica
from deployments.settings import AppArgs


class Holder:
    """Takes the ingress's place in the graph, to hand out what the ingress is given."""

    def __init__(self, replicas: DeploymentHandle, monitor: DeploymentHandle) -> None:
        self._handles = replicas, monitor

    def handles(self) -> tuple[DeploymentHandle, DeploymentHandle]:
        return self._handles


@pytest.fixture
def args() -> AppArgs:
    """Of the application; a module that needs others has its own fixture of this name."""
    return AppArgs.model_validate({"engine": {"kind": "fake"}})


@pytest.fixture
def handles(args: AppArgs) -> tuple[Any, Any]:
    """Handles of one replica and of the monitor."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    monitor = serve.deployment(LoadMonitor).bind()
    replica = serve.deployment(Replica).bind(args, monitor, "local")
    run = serve.run(serve.deployment(Holder).bind(replica, monitor), _local_testing_mode=True)
    found: tuple[Any, Any] = run.handles.remote().result()
    return found


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
