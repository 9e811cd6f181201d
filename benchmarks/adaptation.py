"""How fast the models follow the world: a target slowed twofold, and a change of domain. Writes a plot and its numbers.

`python -m benchmarks.adaptation` writes benchmarks/results/adaptation/. A model starts from a profile's coefficients,
learns a steady world, and is looked at after every step once that changes at step 0.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.provenance import provenance
from policies.api import FloatArray, StepFeedback
from policies.estimators import default_models
from policies.estimators.calibrated import sigmoid
from policies.estimators.cost import LinearCoefficients, LinearCost
from policies.models import Models, StepLoad

HERE = Path(__file__).parent / "results" / "adaptation"
SEEDS, BEFORE, AFTER = range(20), 300, 120
BATCH, K = 8, 4
SLOWER, NOISE = 2.0, 0.08
EASY, HARD = 2.0, -0.5  # logits added to the draft's confidence
PROFILE = LinearCoefficients(target_delta_s=5e-3, target_gamma_s=2.3e-4, request_s=1e-4)


def main() -> None:
    """Both curves over all seeds, [seeds, steps]."""
    curves = [zip(*_run(seed), strict=True) for seed in SEEDS]
    ratio, estimate, truth = (np.array(c) for c in zip(*[tuple(map(list, curve)) for curve in curves], strict=True))
    HERE.mkdir(parents=True, exist_ok=True)
    _figure(ratio, estimate, truth).savefig(HERE / "adaptation.svg", metadata={"Date": None})
    numbers = {
        "steps_until_step_time_within_10_percent": _settled(np.abs(ratio - 1) < 0.1),
        "steps_until_acceptance_within_0.1": _settled(np.abs(estimate - truth) < 0.1),
    }
    (HERE / "result.json").write_text(json.dumps(numbers, indent=1) + "\n")
    world = {"seeds": list(SEEDS), "batch": BATCH, "k": K, "slower": SLOWER, "noise": NOISE, "logits": [EASY, HARD]}
    (HERE / "provenance.json").write_text(json.dumps(provenance(world), indent=1) + "\n")
    print(json.dumps(numbers, indent=1))


def _run(seed: int) -> list[tuple[float, float, float]]:
    """After every step from the change on: predicted / measured time, estimated and true acceptance of position 0."""
    rng, models = np.random.default_rng(seed), default_models(K, PROFILE)
    found = []
    for step in range(-BEFORE, AFTER):
        slower, bias = (1.0, EASY) if step < 0 else (SLOWER, HARD)
        truth = _step(rng, models, slower, bias)
        if step >= 0:
            rates = models.acceptance.snapshot()["positions"]["counts"]
            predicted = float(models.cost.step_s(StepLoad(BATCH, 200 * BATCH), K, K * BATCH))
            found.append((predicted / _step_s(slower), rates[0][0] / rates[1][0], truth))
    return found


def _step(rng: np.random.Generator, models: Models, slower: float, bias: float) -> float:
    """One step of the world, learned from; returns the mean chance of acceptance in it."""
    x = rng.normal(0.3, 1.0, (BATCH, K))
    chance: FloatArray = sigmoid(bias + x)
    accepted = np.logical_and.accumulate(rng.random((BATCH, K)) < chance, axis=1).sum(1)
    step_s = _step_s(slower) * float(rng.normal(1.0, NOISE))
    draft_s = K * (PROFILE.draft_delta_s + BATCH * PROFILE.draft_gamma_s)
    lengths = np.full(BATCH, K)
    models.observe(
        StepFeedback(
            step=0,
            request_ids=tuple(map(str, range(BATCH))),
            k=K,
            drafted=lengths,
            verified=lengths,
            accepted=accepted,
            features={"top1": sigmoid(x)},
            context_tokens=200 * BATCH,
            prefill_tokens=0,
            draft_s=draft_s,
            verify_s=step_s - draft_s,
            step_s=step_s,
        )
    )
    return float(sigmoid(bias + np.random.default_rng(0).normal(0.3, 1.0, 4096)).mean())


def _step_s(slower: float) -> float:
    """The target's part slows, the draft's does not."""
    cost = LinearCost(PROFILE)
    load = StepLoad(BATCH, 200 * BATCH)
    whole, target = float(cost.step_s(load, K, K * BATCH)), float(cost.step_s(load, 0, K * BATCH))
    return whole + (slower - 1) * target


def _settled(inside: np.ndarray) -> dict[str, float]:
    """Steps until at least four of the last five looks were inside, over the seeds."""
    steps = [int(np.flatnonzero(np.convolve(row, np.ones(5), "valid") >= 4)[0]) + 4 for row in inside]
    return {"median": float(np.median(steps)), "worst": float(max(steps))}


def _figure(ratio: FloatArray, estimate: FloatArray, truth: FloatArray) -> Figure:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axis, curves, wanted in ((left, ratio, np.ones(AFTER)), (right, estimate, truth[0])):
        low, middle, high = np.quantile(curves, [0.05, 0.5, 0.95], axis=0)
        axis.fill_between(range(AFTER), low, high, color="#2a78c2", alpha=0.2, lw=0, label="5 % to 95 % of seeds")
        axis.plot(middle, color="#2a78c2", label="median")
        axis.plot(wanted, color="#d9713c", ls="--", label="true")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    left.set(title=f"target {SLOWER:g} times as slow", xlabel="steps since", ylabel="predicted / measured step time")
    right.set(title="change of domain", xlabel="steps since", ylabel="estimated acceptance rate", ylim=(0, 1))
    return figure


if __name__ == "__main__":
    main()
