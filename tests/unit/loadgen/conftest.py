import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

TTFT_MS, GAP_MS = 40.0, 8.0


@pytest.fixture(scope="session")
def known_url() -> Iterator[str]:
    """A server of known timing, in its own process."""
    with known_server() as url:
        yield url


@contextmanager
def known_server(*more: str) -> Iterator[str]:
    """Its address."""
    command = [sys.executable, "-m", "tests.unit.loadgen.known_server"]
    command += ["--ttft-ms", str(TTFT_MS), "--gap-ms", str(GAP_MS), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.terminate()
