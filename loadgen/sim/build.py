"""A replica with its policy, its models and their seeds."""

from __future__ import annotations

import numpy as np

from loadgen.sim.batch import Batch, Streams
from loadgen.sim.fit import fitted
from loadgen.sim.oracle import Oracle
from loadgen.sim.record import Record, Tally
from loadgen.sim.replica import Replica
from loadgen.sim.rng import FloatArray, child, generator
from loadgen.sim.scenario import ORACLE, Scenario
from loadgen.sim.speculation import Speculation
from loadgen.sim.truth import Truth
from loadgen.sim.workload import Texts, Workload
from policies.api import Policy, PolicyContext, StepView
from policies.guard import Guard
from policies.registry import build

TIME_BUCKETS = 240  # of K over time


def replica(scenario: Scenario, work: Workload, record: Record, texts: Texts, index: int) -> Replica:
    """Replica `index`, with nothing to do."""
    truth, k_max = scenario.truth, scenario.engine.k_max
    batch = Batch(work, truth.seats)
    streams = Streams(texts, truth.seats, int(work.output_tokens.max()), k_max)
    models = fitted(truth, k_max)
    context = PolicyContext(k_max=k_max, models=models, seed=child(scenario.seed, f"policy/{index}") % 2**32)
    free = scenario.policy.name == ORACLE
    policy: Policy = _oracle(context, truth, batch, streams) if free else build(scenario.policy, context)
    spec = Speculation(Guard(policy), models, truth, streams, free=free)
    tally = Tally(bucket_s=max(scenario.duration_s, float(work.arrival_s[-1])) / TIME_BUCKETS)
    return Replica(scenario, work, record, spec, batch, tally, generator(scenario.seed, f"noise/{index}"))


def _oracle(context: PolicyContext, truth: Truth, batch: Batch, streams: Streams) -> Oracle:
    def conditional(k: int) -> FloatArray:
        streams.fill(batch)
        return streams.true(batch.row, batch.emitted, k)

    def times(k: int, view: StepView) -> FloatArray:
        b, context_tokens = view.batch, int(view.context_tokens.sum())
        room = (view.token_budget or 0) - b
        prefill = max(0, min(view.waiting_prefill_tokens or 0, room))
        verify = b + prefill + np.arange(b * k + 1, dtype=np.float64)
        return truth.draft_s(k, b, context_tokens, 0) + truth.verify_each_s(verify, b, context_tokens)

    return Oracle(context, conditional, times)
