"""Engine tests run real vLLM on one thread; its worker processes import test modules from the project's root."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module", autouse=True)
def engine_environment() -> Iterator[None]:
    """Each module leaves the environment as it was: an engine's start-up writes to it (LD_PRELOAD among others)."""
    before = dict(os.environ)
    os.environ.update(
        PYTHONPATH=str(Path(__file__).parents[2]),
        VLLM_NO_USAGE_STATS="1",
        VLLM_LOGGING_LEVEL="WARNING",
        HF_HUB_OFFLINE="1",
        OMP_NUM_THREADS="1",
    )
    yield
    os.environ.clear()
    os.environ.update(before)
