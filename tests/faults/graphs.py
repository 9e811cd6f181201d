"""The services under fault: the whole graph as the shipped file has it, on fake engines or on the demo pair."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.fakes import serving
from tests.cluster.service import Service, config

ROOT = Path(__file__).parents[2]
STEPS = {"step_ms": 40, "draft_ms": 2, "ttft_ms": 30, "max_num_seqs": 8}
HUNG_S = 3
PAIR = {
    "kind": "vllm",
    "model": str(ROOT / ".models" / "target-30m"),
    "draft": str(ROOT / "models" / "draft"),
    "served_model_name": "demo",
    "dtype": "float32",
    "max_model_len": 512,
    "max_num_seqs": 8,
    "kv_cache_gib": 0.25,
    "calibrate_s": 1,
}


def fake(replicas: int, ingresses: int = 1) -> dict[str, Any]:
    """Engines that take real steps' time, so that streams last about a second."""
    found = config(replicas=replicas, ongoing=12, engine=STEPS)
    ingress, _, replica = found["applications"][0]["deployments"]
    ingress["num_replicas"] = ingresses
    replica["health_check_timeout_s"] = 2
    replica["user_config"]["stalled_after_s"] = HUNG_S
    return found


def pair(replicas: int) -> dict[str, Any]:
    """The 30M demo pair."""
    found = fake(replicas)
    found["applications"][0]["args"] = {"engine": PAIR}
    return found


@contextmanager
def served() -> Iterator[Service]:
    """A cluster of this process's own."""
    with serving() as port:
        yield Service(port)
