"""One Ray with Serve for all cluster tests; each module deploys the application it needs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray import serve

from deployments.environment import missing
from tests.cluster.service import Service


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    port = free_port()
    os.environ.update(missing(os.environ))  # as in production; Ray's processes inherit it
    ray.init(num_cpus=2, object_store_memory=128 << 20, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port, "request_timeout_s": 600})
    try:
        yield Service(port)
    finally:
        serve.shutdown()
        ray.shutdown()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A held request goes on once this file exists."""
    return tmp_path / "gate"
