"""One replica's speculation: asks the policy as the engine would, prices the draft, tells it what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from loadgen.sim import acceptance
from loadgen.sim.batch import Batch, BoolArray, Streams
from loadgen.sim.rng import FloatArray
from loadgen.sim.truth import Truth
from loadgen.sim.workload import IntArray
from policies.api import DraftBundle, DraftObservation, Feature, StepFeedback, StepPlan, StepView
from policies.guard import Guard
from policies.models import Models

FEATURES: dict[Feature, Callable[[FloatArray], FloatArray]] = {
    "top1": lambda top1: top1,
    "sampled_p": lambda top1: top1,  # a greedy draft samples its most likely token
    "margin": acceptance.margin,
    "entropy": acceptance.entropy,
}


@dataclass(slots=True)
class Drafts:
    """What one plan led to, per decode request. Lives until its verify is done."""

    step: int
    request_ids: tuple[str, ...]
    k: int
    drafted: IntArray
    lengths: IntArray
    features: Mapping[Feature, FloatArray]
    context_tokens: int
    catch_up_tokens: int
    draft_s: float
    memory: str = "keep"

    def keep(self, mask: BoolArray) -> None:
        """Drop the requests that were preempted before their verify."""
        self.request_ids = tuple(r for r, kept in zip(self.request_ids, mask, strict=True) if kept)
        self.drafted, self.lengths = self.drafted[mask], self.lengths[mask]
        self.features = {name: values[mask] for name, values in self.features.items()}

    def feedback(self, accepted: IntArray, prefill_tokens: int, verify_s: float) -> StepFeedback:
        return StepFeedback(
            step=self.step,
            request_ids=self.request_ids,
            k=self.k,
            drafted=self.drafted,
            verified=self.lengths,
            accepted=accepted,
            features=self.features,
            context_tokens=self.context_tokens,
            prefill_tokens=prefill_tokens,
            draft_s=self.draft_s,
            verify_s=verify_s,
            step_s=self.draft_s + verify_s,
            catch_up_tokens=self.catch_up_tokens,
        )


class Speculation:
    """The policy's side of a replica."""

    def __init__(
        self, guard: Guard, models: Models | None, truth: Truth, streams: Streams, *, free: bool = False
    ) -> None:
        """`models` learn from every step; `free`: plain steps leave no gap in the draft's cache (the oracle)."""
        self.guard, self._models, self._truth, self._streams = guard, models, truth, streams
        self._gap = 0 if free else 1  # tokens a plain step adds to what the draft's cache lacks

    def draft(self, view: StepView, batch: Batch, context: int, *, resident: bool) -> Drafts:
        """Plan, draft and choose verify lengths. `context`: the batch's context tokens, summed."""
        plan = self.guard.plan(view)
        if not resident or (plan.k == 0 and plan.k_by_request is None):
            return self._none(view, batch, context, plan)
        wanted = np.minimum(plan.k if plan.k_by_request is None else plan.k_by_request, view.k_limit)
        most = int(wanted.max())
        if most == 0:
            return self._none(view, batch, context, plan)
        self._streams.fill(batch)
        lag = int(batch.lag[wanted > 0].sum())
        catch_up = lag + view.prefill_tokens
        k, features = self._loop(view, batch, most, lambda k: self._truth.draft_s(k, view.batch, context, catch_up))
        drafted = np.minimum(wanted, k)
        batch.lag[:] = np.where(wanted > 0, 0, batch.lag + self._gap)
        batch.fresh[:] = 0
        lengths = self._select(view, plan, k, features, drafted)
        draft_s = self._truth.draft_s(k, view.batch, context, catch_up)
        return Drafts(
            view.step, view.request_ids, k, drafted, lengths, features, context, lag, draft_s, plan.draft_memory
        )

    def accepted(self, batch: Batch) -> IntArray:
        """[B] draft tokens in a row the target accepts from where each request stands."""
        return self._streams.run(batch.row, batch.emitted)

    def learn(self, seen: StepFeedback) -> None:
        if self._models:
            self._models.observe(seen)
        self.guard.feedback(seen)

    def _none(self, view: StepView, batch: Batch, context: int, plan: StepPlan) -> Drafts:
        batch.lag[:] += self._gap + batch.fresh
        batch.fresh[:] = 0
        zeros = np.zeros(view.batch, np.int64)
        empty: dict[Feature, FloatArray] = {name: np.zeros((view.batch, 0)) for name in self.guard.policy.needs}
        return Drafts(view.step, view.request_ids, 0, zeros, zeros, empty, context, 0, 0.0, plan.draft_memory)

    def _loop(
        self, view: StepView, batch: Batch, most: int, elapsed_s: Callable[[int], float]
    ) -> tuple[int, Mapping[Feature, FloatArray]]:
        """Slots drafted (at most `most`) and their features [B, k]."""
        policy, k = self.guard.policy, most
        top1 = self._streams.top1(batch.row, batch.emitted, most) if policy.needs else np.zeros((view.batch, most))
        features = {name: FEATURES[name](top1) for name in sorted(policy.needs)}
        if policy.stops_early:
            k = self._hooks(most, features, elapsed_s)
        return k, {name: values[:, :k] for name, values in features.items()}

    def _hooks(self, most: int, features: Mapping[Feature, FloatArray], elapsed_s: Callable[[int], float]) -> int:
        for j in range(most):
            if not self.guard.before_draft(j):
                return j
            slot = {name: values[:, j] for name, values in features.items()}
            if not self.guard.after_draft(DraftObservation(j, slot, elapsed_s(j + 1))):
                return j + 1
        return most

    def _select(
        self, view: StepView, plan: StepPlan, k: int, features: Mapping[Feature, FloatArray], drafted: IntArray
    ) -> IntArray:
        if k == 0:
            return drafted
        unrestricted = np.zeros(view.batch, np.bool_)  # greedy drafts: every choice of lengths is exact
        bundle = DraftBundle(view, plan, k, features, unrestricted)
        return np.minimum(self.guard.select(bundle), drafted)
