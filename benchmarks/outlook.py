"""Does the load outlook matter? A step from a batch of 4 to one of 32, with a live, a frozen and no outlook.

`python -m benchmarks.outlook` writes benchmarks/results/outlook/. Frozen: the first outlook for ever, which a policy
must see is old. Every mode meets the same arrivals, so differences are taken seed by seed.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.cells import MACHINES, Machine
from benchmarks.provenance import provenance
from loadgen.sim.fleet import Simulation
from loadgen.sim.report import summary
from loadgen.sim.scenario import Scenario
from policies.registry import PolicySpec

HERE = Path(__file__).parent / "results" / "outlook"
SEEDS = range(10)
LOW, HIGH = 4, 32
EDGE = 0.25  # of a request's stay: how long after the step K is looked at


Found = dict[str, dict[str, list[float]]]
"""Machine/mode -> measure -> one value a seed."""


def main() -> None:
    """Every machine and mode; one table."""
    found = {f"{m.preset}/{mode}": _measure(m, mode) for m in MACHINES for mode in MODES}
    HERE.mkdir(parents=True, exist_ok=True)
    (HERE / "result.json").write_text(json.dumps(found, indent=1))
    config = {"seeds": list(SEEDS), "low": LOW, "high": HIGH}
    (HERE / "provenance.json").write_text(json.dumps(provenance(config), indent=1))
    (HERE / "README.md").write_text(_markdown(found))


MODES = ("live", "frozen", "none")


def _measure(machine: Machine, mode: str) -> dict[str, list[float]]:
    runs = [_run(machine, mode, seed) for seed in SEEDS]
    return {name: [round(run[name], 4) for run in runs] for name in runs[0]}


def _run(machine: Machine, mode: str, seed: int) -> dict[str, float]:
    case = _scenario(machine, mode, seed)
    done = Simulation(case).run()
    numbers = summary(done)
    at_s, stay_s = case.duration_s / 2, machine.output_tokens * machine.step_s(LOW)
    after = (done.work.arrival_s >= at_s) & (done.work.arrival_s < at_s + stay_s)
    over = numbers["over_time"]
    edge = [k for t, k in zip(over["at_s"], over["k"], strict=True) if at_s <= t < at_s + EDGE * stay_s]
    return {
        "k_at_the_edge": float(np.mean(edge)) if edge else float("nan"),
        "missed_after_the_step": float(1 - done.record.attained[after].mean()),
        "attainment": numbers["total"]["attainment"],
        "goodput": numbers["total"]["goodput_tokens_per_s"],
    }


def _scenario(m: Machine, mode: str, seed: int) -> Scenario:
    duration_s = 6 * m.output_tokens * m.step_s(HIGH)
    arrivals = {"kind": "step", "rps": m.rps(LOW), "to_rps": m.rps(HIGH), "at_s": duration_s / 2}
    tpot_ms = 0.85e3 * m.step_s(HIGH)  # plain decoding misses it at the high batch
    return Scenario.model_validate(
        {
            "name": f"step-{m.preset}-{mode}",
            "seed": seed,
            "duration_s": duration_s,
            "arrivals": arrivals,
            "prompt": {"mean_tokens": m.prompt_tokens, "max_tokens": 4 * m.prompt_tokens},
            "output": {"mean_tokens": m.output_tokens, "max_tokens": 4 * m.output_tokens},
            "classes": [{"name": "interactive", "ttft_ms": 50 * tpot_ms, "tpot_ms": tpot_ms}],
            "domains": [{"name": "text", "acceptance": 0.6}],
            "cost": m.preset,
            "engine": {"k_max": 7, "seats": 64},
            "fleet": {"outlook": mode},
            "policy": PolicySpec(name="slo_goodput"),
        }
    )


def _markdown(found: Found) -> str:
    names = list(next(iter(found.values())))
    rows = [[label, *(f"{np.mean(values[n]):.4g}" for n in names)] for label, values in found.items()]
    gains = [
        [f"{m.preset}: {mode} - none", *(_gain(found, m.preset, mode, n) for n in names)]
        for m in MACHINES
        for mode in MODES[:2]
    ]
    text = f"# A step from a batch of {LOW} to {HIGH}, default policy, mean of {len(SEEDS)} seeds\n\n"
    text += _table(["machine/outlook", *names], rows)
    return text + "\nPaired differences over the seeds +- standard error.\n\n" + _table(["", *names], gains)


def _gain(found: Found, machine: str, mode: str, name: str) -> str:
    change = np.subtract(found[f"{machine}/{mode}"][name], found[f"{machine}/none"][name])
    return f"{change.mean():+.4f} +- {change.std(ddof=1) / np.sqrt(len(change)):.4f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)) + "\n"


if __name__ == "__main__":
    main()
