"""One Ray with Serve for all cluster tests; each module deploys the application it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.fakes import serving
from tests.cluster.service import Service


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with serving() as port:
        yield Service(port)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A held request goes on once this file exists."""
    return tmp_path / "gate"
