"""Engine tests run real vLLM on one thread; its worker processes import test modules from the project's root."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def engine_environment() -> None:
    os.environ.update(
        PYTHONPATH=str(Path(__file__).parents[2]),
        VLLM_NO_USAGE_STATS="1",
        VLLM_LOGGING_LEVEL="WARNING",
        HF_HUB_OFFLINE="1",
        OMP_NUM_THREADS="1",
    )
