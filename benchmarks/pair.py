"""Engines side by side: all resident, one running at a time, the others stopped (SIGSTOP)."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
CONTEXT_TOKENS = 2048
PROMPT_TOKENS = 96
WARM_STEPS = 8
ADAPTIVE = {
    "worker_cls": "deployments.engine.worker.AdaptiveWorker",
    "scheduler_cls": "deployments.engine.scheduler.AdaptiveScheduler",
    "distributed_executor_backend": "deployments.engine.executor.AdaptiveExecutor",
}
WORKER_CPU = "ADASPEC_BENCH_CPU"  # the core the worker computes on with one thread; default the second


class Engine:
    """A `benchmarks.arm` process and its children."""

    def __init__(self, name: str, options: dict[str, Any], log: Path) -> None:
        self.name = name
        setup = {"options": options, "prompts": str(ROOT / "models" / "heldout.jsonl")}
        with log.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.arm", json.dumps(setup)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env=environment(),
                start_new_session=True,
            )
        self._answer()
        self.pause()

    def run(self, **command: Any) -> dict[str, Any]:
        """One block, with every other engine stopped."""
        self._signal(signal.SIGCONT)
        print(json.dumps(command), file=self._process.stdin, flush=True)
        answer = self._answer()
        self.pause()
        return answer

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def close(self) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        self._process.wait(timeout=60)

    def _signal(self, number: int) -> None:
        os.killpg(self._process.pid, number)

    def _answer(self) -> dict[str, Any]:
        line = "" if self._process.stdout is None else self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"engine {self.name!r} ended; see its log")
        found: dict[str, Any] = json.loads(line)
        return found


def environment() -> dict[str, str]:
    """The same for every engine."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": os.environ.get(WORKER_CPU, "1"),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "HF_HUB_OFFLINE": "1",
    }


def kv_bytes(size: str, batch: int, steps: int, k_max: int) -> int:
    """What `batch` requests need after `steps` decode steps that all emit `k_max` + 1 tokens, in float32.

    A quarter is added for the draft's layers and for blocks that are not full.
    """
    config: dict[str, int] = json.loads(
        (ROOT / ".models" / f"target-{size}" / "config.json").read_text(encoding="utf-8")
    )
    token_bytes = 2 * 4 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"]
    request_tokens = min(CONTEXT_TOKENS, PROMPT_TOKENS + (steps + 2 * WARM_STEPS) * (k_max + 1))
    return token_bytes * max(CONTEXT_TOKENS, batch * request_tokens) * 5 // 4


def options(size: str, k: int | None, *, adaptive: bool, kv_cache_bytes: int) -> dict[str, Any]:
    """`vllm.LLM` arguments: stock without a draft (k None), stock static K, or ours with Kmax = k."""
    found: dict[str, Any] = {
        "model": str(ROOT / ".models" / f"target-{size}"),
        "dtype": "float32",
        "enforce_eager": True,
        "max_model_len": CONTEXT_TOKENS,
        "max_num_seqs": 32,
        "max_num_batched_tokens": 4096,
        "kv_cache_memory_bytes": kv_cache_bytes,
        "enable_prefix_caching": False,
        "async_scheduling": False,
        "seed": 0,
    }
    if k is not None:
        draft = str(ROOT / "models" / "draft")
        found["speculative_config"] = {"method": "draft_model", "model": draft, "num_speculative_tokens": k}
    return {**found, **ADAPTIVE} if adaptive else found


@contextmanager
def engines(named: dict[str, dict[str, Any]], logs: Path) -> Iterator[dict[str, Engine]]:
    """Start them one after the other; each is stopped as soon as it is up."""
    logs.mkdir(parents=True, exist_ok=True)
    running: dict[str, Engine] = {}
    try:
        for name, chosen in named.items():
            print(f"starting {name}", flush=True)
            running[name] = Engine(name, chosen, logs / f"{name}.log")
        yield running
    finally:
        for engine in running.values():
            engine.close()


def ratio_interval(ours: list[float], theirs: list[float], seed: int = 0) -> tuple[float, float, float]:
    """Median of paired ratios with a bootstrap 95 % interval over the pairs."""
    ratios = np.array(ours) / np.array(theirs)
    picks = np.random.default_rng(seed).integers(len(ratios), size=(10_000, len(ratios)))
    low, high = np.quantile(np.median(ratios[picks], axis=1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)
