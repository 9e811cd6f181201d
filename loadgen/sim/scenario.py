"""A simulated experiment as one validated YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, model_validator

from loadgen import parts
from loadgen.parts import Lengths
from loadgen.sim.acceptance import Domain
from loadgen.sim.arrivals import Arrivals
from loadgen.sim.settings import Settings
from loadgen.sim.truth import PRESETS, Truth
from policies.fleet.admit import AdmitSettings
from policies.fleet.outlook import OutlookSettings
from policies.fleet.scale import ScaleSettings
from policies.registry import PolicySpec

ORACLE = "oracle"


class SloClass(parts.SloClass):
    """With what admission needs to know."""

    priority: int = 0
    overload: Literal["queue", "shed"] = "shed"


class Engine(Settings):
    """What a replica's engine is configured with; unset fields come from the cost preset."""

    k_max: int = Field(default=7, ge=0, le=64)
    seats: int | None = Field(default=None, gt=0)
    token_budget: int | None = Field(default=None, gt=0)
    kv_tokens: int | None = Field(default=None, gt=0)
    block_tokens: int = Field(default=16, ge=1)
    learn: bool = Field(default=True, description="false: cost and acceptance models stay as the profile left them")


class Fleet(Settings):
    """Everything outside the engines."""

    replicas: int = Field(default=1, ge=1)
    exchange_s: float = Field(default=0.25, gt=0)
    outlook: Literal["live", "frozen", "none"] = "live"
    forecast: OutlookSettings = OutlookSettings()
    admission: AdmitSettings = AdmitSettings()
    admit: bool = Field(default=False, description="false: every request is served, admission only routes")
    scaling: ScaleSettings | None = None
    start_s: float = Field(default=30.0, gt=0, description="from wanting a replica to having it")


class Scenario(Settings):
    """One run: arrivals, texts, engines, a policy."""

    name: str
    seed: int = Field(default=0, ge=0)
    duration_s: float = Field(default=60.0, gt=0, description="arrivals stop here; what is in flight is finished")
    requests: int | None = Field(default=None, gt=0, description="stop after this many arrivals")
    arrivals: Arrivals
    prompt: Lengths = Lengths(mean_tokens=256)
    output: Lengths = Lengths(mean_tokens=128)
    classes: tuple[SloClass, ...] = (SloClass(name="default"),)
    domains: tuple[Domain, ...] = (Domain(name="text"),)
    cost: str | Truth = "h100_8b_1b"
    engine: Engine = Engine()
    fleet: Fleet = Fleet()
    policy: PolicySpec = PolicySpec(name="off")

    @model_validator(mode="after")
    def _consistent(self) -> Scenario:
        if isinstance(self.cost, str) and self.cost not in PRESETS:
            raise ValueError(f"cost: unknown preset {self.cost!r}; choose one of {', '.join(sorted(PRESETS))}")
        longest = self.prompt.max_tokens + self.output.max_tokens + self.engine.k_max
        block = self.engine.block_tokens
        if -(-longest // block) > self.truth.kv_tokens // block:
            text = f"engine.kv_tokens: {self.truth.kv_tokens} cannot hold one request of {longest} tokens"
            raise ValueError(f"{text} in blocks of {block}")
        if self.truth.token_budget <= self.truth.seats:
            raise ValueError(f"engine.token_budget: {self.truth.token_budget} must exceed seats = {self.truth.seats}")
        return self

    @property
    def truth(self) -> Truth:
        """The cost preset with the engine's own limits."""
        truth = PRESETS[self.cost] if isinstance(self.cost, str) else self.cost
        own = self.engine.model_dump(include={"seats", "token_budget", "kv_tokens"}, exclude_none=True)
        return truth.model_copy(update=own)


def load(path: Path) -> Scenario:
    """The scenario in a YAML file.

    Raises:
        pydantic.ValidationError: naming the field, the value and what is wrong with it.
    """
    return Scenario.model_validate(yaml.safe_load(path.read_text()))
