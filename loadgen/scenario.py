"""One load over HTTP as a validated YAML file: when, what, with which objectives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from loadgen.parts import Lengths, SloClass
from loadgen.sim.arrivals import Drawn
from loadgen.sim.settings import Settings
from loadgen.traces import Replay

SHIPPED = Path(__file__).parent / "scenarios"
HELDOUT = Path(__file__).parents[1] / "models" / "heldout.jsonl"


class Closed(Settings):
    """So many clients, each waiting for its answer before it asks again. It cannot show a queue: prefer arrivals."""

    kind: Literal["closed"] = "closed"
    clients: int = Field(ge=1, le=10_000)
    think_s: float = Field(default=0.0, ge=0)
    requests: int = Field(ge=1, description="over all clients")


class Prompts(Settings):
    """Texts, and how much of each is used."""

    path: Path = Field(default=HELDOUT, description="JSON lines with prompt, turns, text or messages")
    tokens: Lengths | None = Field(default=None, description="unset: each text as it is, or the trace's lengths")
    chars_per_token: float = Field(default=3.2, gt=0, description="of the server's tokenizer; 3.2 is the demo pair's")
    prefill_token_cost: float = Field(default=0.5, gt=0, description="work of a prompt token / of a generated one")
    most_prefill: float = Field(default=0.5, gt=0, description="largest mean prefill work / mean decode work")


class Check(Settings):
    """A run outside these bounds measured the generator, not the server: it is marked invalid."""

    send_lag_p99_ms: float = Field(default=10.0, gt=0)
    rate_error: float = Field(default=0.02, gt=0, description="relative, of requests sent over the sending time")


class Scenario(Settings):
    """A load. What is random in it follows from `seed`, by name."""

    name: str = Field(pattern=r"^[\w.-]+$")
    seed: int = Field(default=0, ge=0)
    duration_s: float = Field(default=60.0, gt=0, description="arrivals stop here; what is in flight is awaited")
    drain_s: float = Field(default=120.0, ge=0, description="then what is still in flight counts as unfinished")
    requests: int | None = Field(default=None, ge=1, description="stop after this many arrivals")
    arrivals: Annotated[Drawn | Replay | Closed, Field(discriminator="kind")]
    prompts: Prompts = Prompts()
    output: Lengths = Lengths(mean_tokens=96, cv=0.4, min_tokens=8, max_tokens=256)
    classes: tuple[SloClass, ...] = Field(default=(SloClass(name="default"),), min_length=1)
    slo: Literal["budgets", "class", "vllm_xargs", "none"] = Field(
        default="budgets",
        description="how objectives are sent: x-slo-ttft-ms and x-slo-tpot-ms, x-slo-class, "
        "or vLLM's own vllm_xargs for the engine without the service",
    )
    api: Literal["completions", "chat"] = "completions"
    model: str | None = Field(default=None, description="unset: the first one the server lists")
    temperature: float = Field(default=0.0, ge=0)
    ignore_eos: bool = Field(
        default=False, description="vLLM's; drifts into degenerate text, so acceptance is not real"
    )
    extra_body: dict[str, Any] = Field(default={}, description="further fields of every request")
    timeout_s: float = Field(default=120.0, gt=0, description="longest silence between two pieces of an answer")
    metrics_every_s: float | None = Field(default=1.0, gt=0, description="reading of /metrics; null: never")
    check: Check = Check()

    @model_validator(mode="after")
    def _unique_classes(self) -> Scenario:
        names = [c.name for c in self.classes]
        if len(set(names)) < len(names):
            raise ValueError(f"classes: names must differ, got {', '.join(names)}")
        return self

    def scaled(self, factor: float) -> Scenario:
        """The same load at `factor` times the rate.

        Raises:
            ValueError: a closed loop has no rate.
        """
        arrivals = self.arrivals
        if isinstance(arrivals, Closed):
            text = "arrivals: a closed loop has no rate to scale; use poisson, constant, ... or replay"
            raise ValueError(text)  # noqa: TRY004 - a choice in the file, not a Python type
        fields = {"speed"} if isinstance(arrivals, Replay) else {"rps", "peak_rps", "to_rps"}
        changes = {name: getattr(arrivals, name) * factor for name in fields if hasattr(arrivals, name)}
        return self.model_copy(update={"arrivals": arrivals.model_copy(update=changes)})


def load(name: str) -> Scenario:
    """A YAML file, or a shipped scenario by its name.

    Raises:
        ValueError: no such scenario, or it is not valid (pydantic's ValidationError names field, value and bound).
        OSError: the file cannot be read.
    """
    path = Path(name)
    if not path.exists() and not path.suffix:
        path = SHIPPED / f"{name}.yaml"
    if not path.exists():
        shipped = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.yaml")))
        raise ValueError(f"scenario: {name!r} is neither a file nor one of {shipped}")
    try:
        return Scenario.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ValueError(f"scenario: {path} is not YAML: {error}") from error


def asked(name: str, rate: float = 1.0, seed: int | None = None) -> Scenario:
    """`load`, at `rate` times its rate and with `seed` in place of its own. Raises as `load` and `scaled` do."""
    found = load(name)
    if seed is not None:
        found = Scenario.model_validate(found.model_dump() | {"seed": seed})
    return found if rate == 1 else found.scaled(rate)


def dump(scenario: Scenario) -> str:
    """YAML that `load` reads back as the same scenario."""
    return yaml.safe_dump(scenario.model_dump(mode="json", exclude_defaults=True) | _kind(scenario), sort_keys=False)


def _kind(scenario: Scenario) -> dict[str, Any]:
    arrivals = scenario.arrivals.model_dump(mode="json", exclude_defaults=True)
    return {"arrivals": {"kind": scenario.arrivals.kind} | arrivals}
