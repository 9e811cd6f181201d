"""Real vLLM engines for tests: each in processes of its own, as in service."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from vllm import LLM

ROOT = Path(__file__).parents[2]
TARGET, DRAFT = ROOT / "models" / "target", ROOT / "models" / "draft"

COMMON: dict[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "kv_cache_memory_bytes": 128 << 20,
    "async_scheduling": False,
    "disable_log_stats": False,
    "seed": 0,
}
ADAPTIVE: dict[str, Any] = {
    "worker_cls": "deployments.engine.worker.AdaptiveWorker",
    "scheduler_cls": "deployments.engine.scheduler.AdaptiveScheduler",
    "distributed_executor_backend": "deployments.engine.executor.AdaptiveExecutor",
}
FAR: dict[str, Any] = {"soft_limit_ms": 1e6, "hard_limit_ms": 6e4, "build_limit_ms": 6e4}
"""Limits no busy machine reaches: what they do is for the unit tests."""


@contextmanager
def stock(target: Path, **options: Any) -> Iterator[LLM]:
    """Vanilla vLLM without speculation."""
    llm = LLM(str(target), **{**COMMON, **options})
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()


@contextmanager
def adaptive(
    target: Path,
    draft: Path,
    k_max: int = 5,
    *,
    settings: dict[str, Any] | None = None,
    speculative: dict[str, Any] | None = None,
    **options: Any,
) -> Iterator[LLM]:
    """The same engine with our worker, scheduler and executor."""
    config = {"method": "draft_model", "model": str(draft), "num_speculative_tokens": k_max, **(speculative or {})}
    additional = {"adaspec": {**FAR, **(settings or {})}, **options.pop("additional", {})}
    with stock(target, speculative_config=config, additional_config=additional, **{**ADAPTIVE, **options}) as llm:
        yield llm


@contextmanager
def one_process() -> Iterator[None]:
    """Engines started inside run in the test's own process."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        yield


def set_policy(llm: LLM, name: str, **params: Any) -> None:
    (answer,) = llm.collective_rpc("set_policy", args=(name, params))
    assert answer["ok"], answer["error"]


def report(llm: LLM) -> dict[str, Any]:
    found: dict[str, Any] = llm.collective_rpc("exchange")[0]
    return found
