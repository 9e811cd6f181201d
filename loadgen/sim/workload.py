"""The requests of a scenario, drawn before anything runs: every policy meets the same ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.parts import pick
from loadgen.sim import acceptance, arrivals
from loadgen.sim.rng import FloatArray, U64Array, child, generator, keys
from loadgen.sim.scenario import Scenario
from loadgen.traces import Replay, read

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Workload:
    """Arrays over requests, in order of arrival."""

    arrival_s: FloatArray
    prompt_tokens: IntArray
    output_tokens: IntArray
    slo_class: IntArray  # index into scenario.classes
    domain: IntArray  # index into scenario.domains
    ttft_slo_s: FloatArray
    tpot_slo_s: FloatArray
    location: FloatArray  # where a request's acceptance lies, logits
    key: U64Array  # its random streams

    def __len__(self) -> int:
        return len(self.arrival_s)


def draw(scenario: Scenario) -> Workload:
    """All requests. Raises ValueError where the arrivals yield none."""
    at, tokens = _times(scenario)
    n = len(at)
    if n == 0:
        raise ValueError(f"arrivals: none within duration_s = {scenario.duration_s}; raise the rate or the duration")
    recorded = (None, None) if tokens is None else (tokens[:n, 0], tokens[:n, 1])
    slo_class = pick(generator(scenario.seed, "class"), [c.share for c in scenario.classes], n)
    domain = pick(generator(scenario.seed, "domain"), [d.share for d in scenario.domains], n)
    stream = keys(child(scenario.seed, "request"), n)
    return Workload(
        arrival_s=at,
        prompt_tokens=scenario.prompt.draw(generator(scenario.seed, "prompt"), recorded[0], n),
        output_tokens=scenario.output.draw(generator(scenario.seed, "output"), recorded[1], n),
        slo_class=slo_class,
        domain=domain,
        ttft_slo_s=np.array([c.ttft_ms / 1e3 for c in scenario.classes])[slo_class],
        tpot_slo_s=np.array([c.tpot_ms / 1e3 for c in scenario.classes])[slo_class],
        location=_locations(scenario, domain, at, stream),
        key=stream,
    )


def _times(scenario: Scenario) -> tuple[FloatArray, FloatArray | None]:
    tokens = None
    if isinstance(scenario.arrivals, Replay):
        at, tokens = read(scenario.arrivals, generator(scenario.seed, "copies"))
        at = at[at < scenario.duration_s]
    else:
        at = arrivals.times(scenario.arrivals, scenario.duration_s, generator(scenario.seed, "arrivals"))
    return at[: scenario.requests], tokens


def _locations(scenario: Scenario, domain: IntArray, at: FloatArray, stream: U64Array) -> FloatArray:
    where = np.zeros(len(at))
    for i, spec in enumerate(scenario.domains):
        mine = domain == i
        where[mine] = spec.locations(at[mine], stream[mine])
    return where


class Texts:
    """Draws a request's acceptance when it first needs it."""

    def __init__(self, scenario: Scenario, work: Workload) -> None:
        self._domains, self._work = scenario.domains, work
        self._recordings = [d.recorded and acceptance.Recording(d.recorded) for d in scenario.domains]

    def draw(self, request: int) -> tuple[IntArray, FloatArray, FloatArray]:
        """Accepted run from each output position on, true probabilities, top-1 confidences: [output tokens]."""
        which, key, n = self._work.domain[request], self._work.key[request], int(self._work.output_tokens[request])
        recording = self._recordings[which]
        if recording is None:
            drawn = acceptance.draw(self._domains[which], float(self._work.location[request]), key, n)
        else:
            drawn = recording.draw(key, n)
        return acceptance.runs(drawn[0]), drawn[1], drawn[2]
