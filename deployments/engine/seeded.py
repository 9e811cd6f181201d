"""A worker whose seeded requests draw no random number while their prompt is still being read.

A step samples for them too and throws it away. vLLM 0.32 then turns their generators back, which a CPU's cannot: on a
CPU, one request with a seed and a prompt that comes in chunks ends the engine, with or without speculation.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from vllm.platforms import current_platform


def platform_worker() -> type[Any]:
    """The stock worker for this machine."""
    path = "vllm.v1.worker.cpu_worker:CPUWorker" if current_platform.is_cpu() else "vllm.v1.worker.gpu_worker:Worker"
    module, name = path.split(":")
    worker: type[Any] = getattr(importlib.import_module(module), name)
    return worker


class SeededWorker(platform_worker()):  # type: ignore[misc]  # the base depends on the machine
    """The stock worker otherwise. vLLM's second model runner has other generators, and is left alone."""

    def sample_tokens(self, grammar_output: Any) -> Any:
        if self.use_v2_model_runner:
            return super().sample_tokens(grammar_output)
        with drawing_nothing(self.model_runner):
            return super().sample_tokens(grammar_output)


@contextmanager
def drawing_nothing(runner: Any) -> Iterator[None]:
    """Takes the generators of requests whose sample is thrown away out of vLLM's batch while the block runs."""
    batch = runner.input_batch
    thrown_away = np.flatnonzero(runner.discard_request_mask.np[: batch.num_reqs]).tolist()
    apart = {row: batch.generators.pop(row) for row in thrown_away if row in batch.generators}
    try:
        yield
    finally:
        batch.generators.update(apart)
