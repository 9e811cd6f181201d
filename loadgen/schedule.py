"""Every request of a run, computed before the first is sent: two servers meet the same ones at the same times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadgen import prompts
from loadgen.parts import pick
from loadgen.scenario import Closed, Scenario
from loadgen.sim import arrivals
from loadgen.sim.rng import FloatArray, generator
from loadgen.traces import Replay, read


@dataclass(frozen=True, slots=True)
class Planned:
    """A request to come. `at_s` counts from the run's start; a closed loop ignores it."""

    id: int
    at_s: float
    slo_class: str
    prompt: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """The plan of a run."""

    scenario: Scenario
    requests: tuple[Planned, ...]
    prompt_factor: float  # what prompt lengths were multiplied with
    prompt_tokens: float  # mean, by chars_per_token
    output_tokens: float  # mean of max_tokens

    @property
    def clients(self) -> int | None:
        """Of a closed loop; None: open."""
        return self.scenario.arrivals.clients if isinstance(self.scenario.arrivals, Closed) else None

    @property
    def text(self) -> str:
        """The plan in one line."""
        return (
            f"{len(self.requests)} requests in {self.scenario.duration_s:g} s; mean prompt {self.prompt_tokens:.0f} "
            f"tokens (lengths x {self.prompt_factor:.3g}), mean answer at most {self.output_tokens:.0f} tokens"
        )


def build(scenario: Scenario) -> Schedule:
    """The plan.

    Raises:
        ValueError: no arrivals, or a trace or prompt file that is not one.
        OSError: a file cannot be read.
    """
    at, recorded = _times(scenario)
    n = len(at)
    if n == 0:
        raise ValueError(f"arrivals: none within duration_s = {scenario.duration_s}; raise the rate or the duration")
    texts = prompts.read(scenario.prompts.path)
    chosen = prompts.order(texts, n, generator(scenario.seed, "prompts"))
    outputs = scenario.output.draw(generator(scenario.seed, "output"), None if recorded is None else recorded[:, 1], n)
    wanted = _prompt_tokens(scenario, None if recorded is None else recorded[:, 0], [len(texts[i]) for i in chosen])
    factor = prompts.factor(wanted, outputs, scenario.prompts.prefill_token_cost, scenario.prompts.most_prefill)
    characters = np.maximum(np.rint(wanted * factor * scenario.prompts.chars_per_token), 1).astype(np.int64)
    slo_class = pick(generator(scenario.seed, "class"), [c.share for c in scenario.classes], n)
    requests = tuple(
        Planned(
            id=i,
            at_s=float(at[i]),
            slo_class=scenario.classes[slo_class[i]].name,
            prompt=prompts.cut(texts, chosen[i], int(characters[i])),
            max_tokens=int(outputs[i]),
        )
        for i in range(n)
    )
    return Schedule(scenario, requests, factor, float(np.mean(wanted * factor)), float(outputs.mean()))


def _times(scenario: Scenario) -> tuple[FloatArray, FloatArray | None]:
    plan, recorded = scenario.arrivals, None
    if isinstance(plan, Closed):
        return np.zeros(plan.requests), None
    if isinstance(plan, Replay):
        at, recorded = read(plan, generator(scenario.seed, "copies"))
        inside = at < scenario.duration_s
        at, recorded = at[inside], None if recorded is None else recorded[inside]
    else:
        at = arrivals.times(plan, scenario.duration_s, generator(scenario.seed, "arrivals"))
    return at[: scenario.requests], None if recorded is None else recorded[: scenario.requests]


def _prompt_tokens(scenario: Scenario, recorded: FloatArray | None, characters: list[int]) -> FloatArray:
    """[n] before scaling: the scenario's lengths, else the trace's, else the texts' own."""
    spec = scenario.prompts
    if spec.tokens is not None:
        return spec.tokens.draw(generator(scenario.seed, "prompt"), recorded, len(characters)).astype(np.float64)
    return np.array(characters) / spec.chars_per_token if recorded is None else recorded
