"""The scoreboard's cells: engine x load x acceptance, as scenarios."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from loadgen.sim.scenario import ORACLE, Scenario
from loadgen.sim.truth import PRESETS, Truth
from policies.registry import CONTROLLERS, PolicySpec

K_MAX = 7
STATIC = (1, 2, 3, 5, 7)
LOADS = ("low", "middle", "high", "bursty", "day")
ACCEPTANCES = ("0.3", "0.6", "0.9", "mixed", "drifting")
STEPS = {"low": 900, "middle": 600, "high": 500, "bursty": 700, "day": 700}
"""Plain steps a run lasts at its load, or at the middle one where the load moves."""
MODELLED = {"goodput", "adaspec", "nightjar", "budget", "slo_custom", "slo_goodput", "specdec_pp"}
"""Policies that ask the cost or the acceptance model; for the others learning would only cost time."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A cost preset and what is asked of it."""

    preset: str
    prompt_tokens: int
    output_tokens: int
    seats: int
    batches: tuple[float, float, float]  # mean decode batch of plain decoding at low, middle and high load

    def step_s(self, batch: float) -> float:
        """Plain decoding, with the prompts that keep this batch going computed beside it."""
        truth = self.truth
        context = batch * (self.prompt_tokens + self.output_tokens / 2)
        fresh = batch / self.output_tokens * self.prompt_tokens
        return truth.verify_s(batch + fresh, batch, context)

    @property
    def truth(self) -> Truth:
        return PRESETS[self.preset]

    def rps(self, batch: float) -> float:
        """Arrivals that keep `batch` requests decoding (Little's law)."""
        return batch / (self.output_tokens * self.step_s(batch))


MACHINES = (
    Machine("cpu_270m", 48, 64, 32, (2, 8, 26)),
    Machine("h100_8b_1b", 256, 128, 128, (3, 24, 100)),
    Machine("h100_70b_1b", 256, 128, 128, (3, 24, 100)),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One engine under one load with one kind of text."""

    machine: Machine
    load: str
    acceptance: str

    @property
    def name(self) -> str:
        return f"{self.machine.preset}/{self.load}-{self.acceptance}"

    @property
    def stationary(self) -> bool:
        return self.load in {"low", "middle", "high"} and self.acceptance != "drifting"


def cells() -> list[Cell]:
    """All of them."""
    return [Cell(*parts) for parts in product(MACHINES, LOADS, ACCEPTANCES)]


def policies() -> dict[str, PolicySpec]:
    """Label -> policy: every registered controller with its defaults, each static K, the oracle."""
    wrappers = {"probed", "steady"}
    specs = {name: PolicySpec(name=name) for name in CONTROLLERS if name not in wrappers | {"fixed"}}
    specs |= {f"fixed_{k}": PolicySpec(name="fixed", params={"k": k}) for k in STATIC}
    # No table is the default for `schedule`; this one is TensorRT-LLM's documented example.
    specs["schedule"] = PolicySpec(name="schedule", params={"up_to": {4: 4, 8: 2, 32: 1}})
    return specs | {ORACLE: PolicySpec(name=ORACLE)}


def scenario(cell: Cell, seed: int, policy: PolicySpec) -> Scenario:
    """One run of a cell."""
    m = cell.machine
    duration_s = STEPS[cell.load] * m.step_s(m.batches[_level(cell.load)])
    return Scenario.model_validate(
        {
            "name": cell.name,
            "seed": seed,
            "duration_s": duration_s,
            "arrivals": _arrivals(m, cell.load, duration_s),
            "prompt": {"mean_tokens": m.prompt_tokens, "cv": 0.6, "max_tokens": 4 * m.prompt_tokens},
            "output": {"mean_tokens": m.output_tokens, "cv": 0.5, "min_tokens": 8, "max_tokens": 4 * m.output_tokens},
            "classes": _classes(m),
            "domains": _domains(cell.acceptance, duration_s),
            "cost": m.preset,
            "engine": {"k_max": K_MAX, "seats": m.seats, "learn": policy.name in MODELLED},
            "policy": policy,
        }
    )


def _level(load: str) -> int:
    return {"low": 0, "middle": 1, "high": 2}.get(load, 1)


def _arrivals(m: Machine, load: str, duration_s: float) -> dict[str, Any]:
    low, middle, high = (m.rps(b) for b in m.batches)
    if load == "bursty":
        return {
            "kind": "spike",
            "rps": low,
            "peak_rps": 1.3 * high,
            "every_s": duration_s / 3,
            "for_s": duration_s / 12,
        }
    if load == "day":
        return {"kind": "day", "rps": low, "peak_rps": high, "period_s": duration_s, "cv": 1.5}
    return {"kind": "poisson", "rps": (low, middle, high)[_level(load)]}


def _classes(m: Machine) -> list[dict[str, Any]]:
    """Urgent: plain decoding misses it at a middle load. Interactive: it just holds at a high one. Patient: always."""
    middle_ms, high_ms = m.step_s(m.batches[1]) * 1e3, m.step_s(m.batches[2]) * 1e3
    ttft_ms = 1e3 * m.truth.verify_s(m.truth.token_budget, m.seats, 0) + 20 * middle_ms
    return [
        {"name": "urgent", "share": 1, "ttft_ms": ttft_ms, "tpot_ms": 0.8 * middle_ms},
        {"name": "interactive", "share": 2, "ttft_ms": ttft_ms, "tpot_ms": 1.15 * high_ms},
        {"name": "patient", "share": 1, "ttft_ms": 4 * ttft_ms, "tpot_ms": 3 * high_ms},
    ]


def _domains(acceptance: str, duration_s: float) -> list[dict[str, Any]]:
    """Single rates are calibrated; mixed texts differ in the draft's self-esteem; drift falls and recovers."""
    boastful = {"bias": 0.8, "noise": 0.5}
    if acceptance == "mixed":
        return [
            {"name": "code", "acceptance": 0.9},
            {"name": "chat", "acceptance": 0.6, "confidence": {"noise": 0.5}},
            {"name": "rare", "acceptance": 0.3, "confidence": boastful},
        ]
    if acceptance == "drifting":
        at = [(0.0, 0.85), (0.4, 0.8), (0.5, 0.35), (0.7, 0.35), (0.8, 0.8)]
        knots = [(share * duration_s, value) for share, value in at]
        return [{"name": "moving", "acceptance": 0.6, "drift": knots, "confidence": {"bias": 0.4, "noise": 0.5}}]
    return [{"name": "text", "acceptance": float(acceptance)}]
