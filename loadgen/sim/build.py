"""A replica with its policy, its models and their seeds."""

from __future__ import annotations

from dataclasses import dataclass

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
from policies.api import Policy, PolicyContext
from policies.guard import Guard
from policies.registry import build

TIME_BUCKETS = 240  # of K over time


def replica(scenario: Scenario, work: Workload, record: Record, texts: Texts, index: int) -> Replica:
    """Replica `index`, with nothing to do."""
    truth, k_max = scenario.truth, scenario.engine.k_max
    batch = Batch(work, truth.seats)
    streams = Streams(texts, truth.seats, int(work.output_tokens.max()), k_max)
    models = fitted(truth, k_max)
    seed = child(scenario.seed, f"policy/{index}") % 2**32
    context = PolicyContext(k_max=k_max, models=models, seed=seed, offloads=True)
    oracle = Oracle(context) if scenario.policy.name == ORACLE else None
    policy: Policy = oracle or build(scenario.policy, context)
    learner = models if scenario.engine.learn else None
    spec = Speculation(Guard(policy), learner, truth, streams, free=oracle is not None)
    tally = Tally(bucket_s=max(scenario.duration_s, float(work.arrival_s[-1])) / TIME_BUCKETS)
    made = Replica(scenario, work, record, spec, batch, tally, generator(scenario.seed, f"noise/{index}"))
    if oracle:
        oracle.seer = Inside(made, streams, truth)
    return made


@dataclass(frozen=True, slots=True)
class Inside:
    """A replica's own truth, for the oracle."""

    replica: Replica
    streams: Streams
    truth: Truth

    def acceptance(self, k: int) -> FloatArray:
        """As `Seer`."""
        batch = self.replica.batch
        self.streams.fill(batch)
        return self.streams.true(batch.row, batch.emitted, k)

    def step_s(self, k: int) -> FloatArray:
        """As `Seer`."""
        b, context_tokens, truth = self.replica.batch.n, int(self.replica.batch.context.sum()), self.truth
        beside = b + self.replica.next_prefill_tokens()
        drafts = np.arange(b * k + 1, dtype=np.float64)
        verify_s = truth.verify_each_s(beside + drafts, b, context_tokens, drafts=drafts)
        prompts_s = truth.verify_s(beside, b, context_tokens) - truth.verify_s(b, b, context_tokens)
        return truth.draft_s(k, b, context_tokens, 0) + verify_s - prompts_s
