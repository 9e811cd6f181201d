"""What the servers meet: rates and objectives follow from what plain decoding does on this machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadgen.scenario import Scenario
from loadgen.traces import Replay, read

LOADS = ("low", "middle", "high", "bursty", "day")
CLIENTS = {1: 6, 4: 20, 16: 64}
"""Calibration: closed loops of so many clients -> requests."""
TEXTS: dict[str, Any] = {
    "prompts": {"tokens": {"mean_tokens": 64, "cv": 0.5, "min_tokens": 16, "max_tokens": 192}},
    "output": {"mean_tokens": 64, "cv": 0.4, "min_tokens": 8, "max_tokens": 160},
    "slo": "vllm_xargs",
    "metrics_every_s": 5,
    # Latencies count from the intended start, so a late send is in them. What the bound must keep small is its share
    # of TTFTs near a second; the generator shares a core with whatever else the machine does.
    "check": {"send_lag_p99_ms": 50},
}


@dataclass(frozen=True)
class Calibration:
    """Stock vLLM without speculation under closed loops of 1, 4 and 16 clients."""

    alone_tpot_ms: float
    middle_tpot_ms: float
    high_tpot_ms: float
    high_rps: float

    def classes(self) -> list[dict[str, Any]]:
        """Urgent: plain decoding misses it at a middle load. Interactive: it holds at a high one. Patient: always."""
        ttft_ms = max(1000.0, 20 * self.middle_tpot_ms)
        return [
            {"name": "urgent", "share": 1, "ttft_ms": ttft_ms, "tpot_ms": round(0.8 * self.middle_tpot_ms, 1)},
            {"name": "interactive", "share": 2, "ttft_ms": ttft_ms, "tpot_ms": round(1.15 * self.high_tpot_ms, 1)},
            {"name": "patient", "share": 1, "ttft_ms": 4 * ttft_ms, "tpot_ms": round(3 * self.high_tpot_ms, 1)},
        ]

    def arrivals(self, load: str, window_s: float) -> dict[str, Any]:
        """Of a load's name."""
        low, middle, high = (round(share * self.high_rps, 3) for share in (0.2, 0.5, 0.85))
        if load == "bursty":
            peak = round(1.3 * self.high_rps, 3)
            return {"kind": "spike", "rps": low, "peak_rps": peak, "every_s": window_s / 3, "for_s": window_s / 12}
        if load == "day":
            return {"kind": "day", "rps": low / 2, "peak_rps": high, "period_s": window_s, "cv": 1.5}
        return {"kind": "poisson", "rps": {"low": low, "middle": middle, "high": high}[load]}

    def scenario(self, load: str, window_s: float, seed: int) -> Scenario:
        """The same seeded requests for every arm of a round."""
        return Scenario.model_validate(
            {
                "name": load,
                "seed": seed,
                "duration_s": window_s,
                "arrivals": self.arrivals(load, window_s),
                "classes": self.classes(),
                **TEXTS,
            }
        )

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def closed(clients: int, seed: int) -> Scenario:
    """One closed loop of the calibration."""
    arrivals = {"kind": "closed", "clients": clients, "requests": CLIENTS[clients]}
    return Scenario.model_validate({"name": f"closed-{clients}", "seed": seed, "arrivals": arrivals, **TEXTS})


def replay(path: Path, window_s: float, seed: int, base: Calibration) -> Scenario:
    """The first `window_s` of a recorded sequence, thinned or thickened to the middle load's mean rate."""
    at_s, _ = read(Replay(path=path, window_s=window_s), np.random.default_rng(seed))
    copies = 0.5 * base.high_rps * window_s / len(at_s)
    arrivals = {"kind": "replay", "path": path, "copies": copies, "window_s": window_s}
    more = {"duration_s": window_s, "arrivals": arrivals, "classes": base.classes(), **TEXTS}
    return Scenario.model_validate({"name": path.stem, "seed": seed, **more})
