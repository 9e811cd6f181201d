"""What deciding costs: CPU time of all policy hooks of a step, by policy and batch.

Run: python -m benchmarks.decision_cost --out benchmarks/results/decision_cost
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.provenance import provenance
from policies.api import (
    BoolArray,
    DraftBundle,
    DraftObservation,
    Feature,
    FloatArray,
    IntArray,
    Policy,
    PolicyContext,
    StepFeedback,
    StepPlan,
    StepView,
)
from policies.estimators import default_models
from policies.estimators.calibrated import sigmoid
from policies.models import Models
from policies.registry import CONTROLLERS, PolicySpec, build

K_MAX = 8
BATCHES = (1, 32, 256)
GOALS_MS = {32: 0.1, 256: 0.5}
WRAPPED = {"policy": {"name": "adaspec"}}


@dataclass(frozen=True)
class Row:
    """CPU milliseconds per step."""

    policy: str
    batch: int
    quiet_ms: float  # median of the quietest twentieth: neighbours on the same cores slow everything several times
    median_ms: float
    p90_ms: float
    p99_ms: float
    wall_median_ms: float
    observe_ms: float  # the shared models' learning, beside the policy's hooks; as quiet_ms
    mean_k: float


@dataclass(frozen=True)
class World:
    """A synthetic engine: acceptance .7 on average, a compute-bound target, every request with a TPOT objective."""

    batch: int
    rng: np.random.Generator

    def view(self, step: int) -> StepView:
        batch = self.batch
        emitted = self.rng.integers(1, 400, batch)
        return StepView(
            step=step,
            at_s=0.03 * step,
            k_max=K_MAX,
            request_ids=tuple(map(str, range(batch))),
            context_tokens=self.rng.integers(50, 1000, batch),
            emitted_tokens=emitted,
            elapsed_decode_s=emitted * self.rng.uniform(0.02, 0.06, batch),
            tpot_slo_s=np.full(batch, 0.05),
            temperature=np.zeros(batch),
            draft_lag_tokens=np.zeros(batch, np.int64),
            k_limit=np.full(batch, K_MAX),
        )

    def confidence(self) -> FloatArray:
        return sigmoid(self.rng.normal(1.2, 1.2, (self.batch, K_MAX)))

    def step_s(self, k: int, verified: int) -> float:
        """Cheap enough per token that drafting pays at every batch."""
        return float((0.025 + 2e-5 * (self.batch + verified) + 3e-4 * k) * self.rng.normal(1.0, 0.03))


@dataclass(frozen=True)
class Script:
    """What a step's drafts look like, laid out as an engine has it before it asks: the clock runs in hooks only."""

    slots: list[DraftObservation]
    features: list[dict[Feature, FloatArray]]  # by number of slots drafted
    restricted: BoolArray

    @classmethod
    def of(cls, confidence: FloatArray) -> Script:
        batch, k_max = confidence.shape
        slots = [DraftObservation(j, {"top1": confidence[:, j].copy()}, 0.0) for j in range(k_max)]
        features: list[dict[Feature, FloatArray]] = [{"top1": confidence[:, :k].copy()} for k in range(k_max + 1)]
        return cls(slots, features, np.zeros(batch, np.bool_))


def decide(policy: Policy, view: StepView, script: Script) -> tuple[StepPlan, int, IntArray | None]:
    """Every hook of one step but feedback: the plan, slots drafted, verify lengths."""
    plan, k = policy.plan(view), 0
    while k < plan.k and (k == 0 or policy.before_draft(k)):
        more = policy.after_draft(script.slots[k])
        k += 1
        if not more:
            break
    if not k:
        return plan, 0, None
    return plan, k, policy.select(DraftBundle(view, plan, k, script.features[k], script.restricted)).lengths


def outcome(
    world: World, view: StepView, script: Script, decided: tuple[StepPlan, int, IntArray | None]
) -> StepFeedback:
    """What became of the drafts: accepted as often as the draft was sure."""
    plan, k, lengths = decided
    features = script.features[k]
    hits = np.logical_and.accumulate(world.rng.random((view.batch, k)) < features["top1"], axis=1).sum(1)
    most = np.full(view.batch, k) if plan.k_by_request is None else np.minimum(plan.k_by_request, k)
    verified = most if lengths is None else np.minimum(lengths, most)
    return StepFeedback(
        step=view.step,
        request_ids=view.request_ids,
        k=k,
        drafted=np.full(view.batch, k),
        verified=verified,
        accepted=np.minimum(hits, verified),
        features=features,
        context_tokens=int(view.context_tokens.sum()),
        prefill_tokens=0,
        draft_s=3e-4 * k,
        verify_s=0.025,
        step_s=world.step_s(k, int(verified.sum())),
    )


def measure(name: str, batch: int, steps: int, seed: int) -> Row:
    """Times over `steps` steps after a warm-up of a fifth as many."""
    models: Models = default_models(K_MAX)
    params = WRAPPED if name in ("probed", "steady") else {}
    policy = build(PolicySpec(name=name, params=params), PolicyContext(K_MAX, models, seed))
    world = World(batch, np.random.default_rng(seed))
    times = [_step(policy, models, world, step) for step in range(steps + steps // 5)][steps // 5 :]
    cpu, wall, observe, lengths = np.array(times).T
    median, p90, p99 = (round(1e3 * float(f), 4) for f in np.percentile(cpu, [50, 90, 99]))
    return Row(
        policy=name,
        batch=batch,
        quiet_ms=_quiet_ms(cpu),
        median_ms=median,
        p90_ms=p90,
        p99_ms=p99,
        wall_median_ms=round(1e3 * float(np.median(wall)), 4),
        observe_ms=_quiet_ms(observe),
        mean_k=round(float(lengths.mean()), 2),
    )


def _step(policy: Policy, models: Models, world: World, step: int) -> tuple[float, float, float, int]:
    """CPU and wall seconds of the policy's hooks, CPU seconds of the models' learning, slots drafted."""
    view, script = world.view(step), Script.of(world.confidence())
    wall_0, cpu_0 = time.perf_counter(), time.thread_time()
    decided = decide(policy, view, script)
    cpu_1, wall_1 = time.thread_time(), time.perf_counter()
    seen = outcome(world, view, script, decided)
    cpu_2 = time.thread_time()
    models.observe(seen)
    cpu_3, wall_3 = time.thread_time(), time.perf_counter()
    policy.feedback(seen)
    cpu_4, wall_4 = time.thread_time(), time.perf_counter()
    return cpu_1 - cpu_0 + cpu_4 - cpu_3, wall_1 - wall_0 + wall_4 - wall_3, cpu_3 - cpu_2, decided[1]


def _quiet_ms(seconds: FloatArray) -> float:
    """Median of the quietest twentieth of the run."""
    return round(1e3 * min(float(np.median(part)) for part in np.array_split(seconds, 20)), 4)


def setting(args: argparse.Namespace) -> dict[str, object]:
    """What the figures were taken with."""
    return {
        "steps": args.steps,
        "seed": args.seed,
        "k_max": K_MAX,
        "batches": list(BATCHES),
        "goals_ms": GOALS_MS,
        "wrapped": WRAPPED,
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "clock": "CPU time of the deciding thread; wall_median_ms also counts waiting for a core",
    }


def main(argv: list[str] | None = None) -> int:
    """Prints the table; 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--policies", nargs="*", default=sorted(CONTROLLERS))
    parser.add_argument("--out", type=Path, help="folder for result.json and provenance.json")
    args = parser.parse_args(argv)
    print(f"{'policy':<12}" + "".join(f"{f'B={b} quiet / median / p99 ms':>36}" for b in BATCHES))
    rows, late = [], []
    for name in args.policies:
        found = [measure(name, batch, args.steps, args.seed) for batch in BATCHES]
        rows += found
        late += [r for r in found if r.quiet_ms > GOALS_MS.get(r.batch, np.inf)]
        figures = "".join(f"{f'{r.quiet_ms:.3f} / {r.median_ms:.3f} / {r.p99_ms:.3f}':>36}" for r in found)
        print(f"{name:<12}{figures}   observe {found[1].observe_ms:.3f}  K {found[1].mean_k}", flush=True)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        for name, what in (("result", [asdict(row) for row in rows]), ("provenance", provenance(setting(args)))):
            (args.out / f"{name}.json").write_text(json.dumps(what, indent=1) + "\n")
    for row in late:
        print(f"over its goal: {row.policy} at batch {row.batch}: {row.quiet_ms:.3f} ms")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
