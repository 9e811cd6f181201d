"""The services under fault, the whole graph on fake engines or on the demo pair, and the load they are under."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fakes import serving
from tests.cluster.service import Service, config

ROOT = Path(__file__).parents[2]
STEPS = {"step_ms": 40, "draft_ms": 2, "ttft_ms": 30, "max_num_seqs": 8}
HUNG_S = 10
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


SERVED_WITHIN_S, ALONE_S = 5.0, 30.0


@dataclass(frozen=True, slots=True)
class Case:
    """`clients` ask one after the other for `tokens` each, while one `victim` of `replicas` is killed."""

    victim: str = ""
    moment: str = ""
    replicas: int = 2
    ingresses: int = 1
    model: str = "fake"
    clients: int = 12
    tokens: int = 40
    slack: float = 1.0  # times as long as on a machine that does nothing else
    within_s: float = 120  # until all is as before

    def body(self, number: int) -> dict[str, Any]:
        return {
            "model": self.model,
            "prompt": f"def f{number}(n):",
            "max_tokens": self.tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": bool(number % 4),
        }

    @property
    def name(self) -> str:
        there_are = {"replica": self.replicas, "ingress": self.ingresses}
        count = f" 1 of {there_are[self.victim]}" if self.victim in there_are else ""
        return f"{self.victim}{count}, {self.moment}"

    @property
    def served_within_s(self) -> float:
        """The only door is closed until another process has started; Serve's proxy keeps who asks waiting."""
        alone = self.victim == "proxy" or (self.victim, self.ingresses) == ("ingress", 1)
        return self.slack * (ALONE_S if alone else SERVED_WITHIN_S)


DEMO = Case(replicas=1, model="demo", clients=8, tokens=120, within_s=240)
"""On real vLLM."""


def of(case: Case) -> dict[str, Any]:
    """The service that case is about."""
    return pair(case.replicas) if case.model == DEMO.model else fake(case.replicas, case.ingresses)


def fake(replicas: int, ingresses: int = 1) -> dict[str, Any]:
    """Engines that take real steps' time, so that streams last about a second."""
    found = config(replicas=replicas, ongoing=12, engine=STEPS)
    ingress, _, replica = found["applications"][0]["deployments"]
    ingress["num_replicas"] = ingresses
    replica["health_check_timeout_s"] = 10
    replica["user_config"]["stalled_after_s"] = HUNG_S
    return found


def pair(replicas: int) -> dict[str, Any]:
    """The 30M demo pair."""
    found = fake(replicas)
    found["applications"][0]["args"] = {"engine": PAIR}
    found["applications"][0]["deployments"][-1]["user_config"]["stalled_after_s"] = 3 * HUNG_S
    return found


@contextmanager
def served() -> Iterator[Service]:
    """A cluster of this process's own."""
    with serving() as port:
        yield Service(port)
