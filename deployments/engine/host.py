"""Runs one policy beside an engine: plans, early stops, lengths, feedback, swaps, reports. Knows nothing of vLLM."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from deployments.engine import lossless
from deployments.engine.request_trace import TraceBook
from deployments.engine.settings import EngineSettings
from deployments.engine.telemetry import Telemetry
from deployments.engine.watchdog import Watchdog
from policies.api import (
    HOLDS,
    Cut,
    DraftBundle,
    DraftObservation,
    Feature,
    FloatArray,
    IntArray,
    PolicyContext,
    StepFeedback,
    StepPlan,
    StepView,
)
from policies.estimators import default_models
from policies.exchange import LoadOutlook
from policies.guard import Guard, Interrupted, Limits
from policies.models import Models, StepLoad
from policies.registry import PolicySpec, build
from policies.whatif import what_if

T = TypeVar("T")
log = logging.getLogger(__name__)
PREDICT_EVERY = 4  # steps with drafts: predictions are for an operator's eyes, and a step's time is dear
DRAFTS_EVERY = 2  # steps with drafts that models learn from, when they have learned from FRESH
FRESH = 128
PLAIN_EVERY = HOLDS + 1  # steps without drafts differ little: models learn from every eighth of a row of them

DRAFT_FAILED = "draft_failed"


@dataclass(slots=True)
class Drafting:
    """A plan under way, from `plan` until its drafts are verified."""

    view: StepView
    plan: StepPlan
    guard: Guard  # of the policy whose plan it is
    teaches: bool = True  # models learn from this step
    k: int = 0
    stopped_early: bool = False
    most: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))  # [B] lengths the plan allows
    lengths: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))  # [B] lengths to verify
    features: Mapping[Feature, FloatArray] = field(default_factory=dict)  # [B, K]
    draft_s: float = 0.0
    catch_up_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Verified:
    """What the engine saw of the verify that followed a plan. Arrays are [B'], requests of the plan still there."""

    rows: IntArray  # their rows in the plan's batch
    submitted: IntArray  # draft tokens verified
    accepted: IntArray
    prefill_tokens: int
    verify_s: float
    step_s: float
    idle: bool


class PolicyHost:
    """One per worker. Every method is called from the worker's step loop, between steps or inside one."""

    def __init__(self, settings: EngineSettings, k_max: int, models: Models | None = None) -> None:
        self._settings = settings
        self.models = models or default_models(k_max, settings.cost)
        self._context = PolicyContext(k_max=k_max, models=self.models, seed=settings.seed)
        self._watchdog = Watchdog(settings.hard_limit_ms / 1e3)
        self._step_s = 0.0  # the last step that did not wait for work
        self.telemetry = Telemetry(k_max)
        self.traces = TraceBook()
        self._view: StepView | None = None
        self.outlook: LoadOutlook | None = None
        self._outlook_at_s = 0.0
        self._rejection: str | None = None
        self._alike = self._batch = 0  # steps without drafts in a row, and the batch they had
        self._holds = 0  # steps the last plan still holds for
        self._fresh = FRESH  # steps with drafts until models learn from every second one only
        self.spec = settings.policy
        self._guard = self._guarded(settings.policy)

    # ---- one step -------------------------------------------------------------------------------------------

    def plan(self, view: StepView) -> Drafting:
        """Decide how far to draft. The plan's lengths are already inside every request's limit."""
        plan = self._guard.plan(view)
        self._holds = plan.holds if plan.k == 0 else 0
        self.telemetry.planned(view, plan)
        self.traces.planned(view)
        self._view = view
        if plan.k == 0:
            none = np.zeros(view.batch, np.int64)
            return Drafting(view, plan, self._guard, most=none, lengths=none)
        most = np.minimum(view.k_limit, plan.k)
        if plan.k_by_request is not None:
            most = np.minimum(most, plan.k_by_request)
        k = int(most.max(initial=0))
        if k and not self._guard.before_draft(0):
            k = 0
        plan = replace(plan, k=k) if k != plan.k else plan
        return Drafting(view, plan, self._guard, most=np.minimum(most, k), k=k)

    def passes(self) -> bool:
        """Whether the last plan holds for a step with the same requests; counts it if so."""
        if not self._holds or self.traces.active:
            return False
        self._holds -= 1
        self.telemetry.repeated()
        return True

    def needs(self, drafting: Drafting) -> frozenset[Feature]:
        """Features the engine must compute while drafting."""
        needs = self._guard.needs
        return needs | {"top1"} if drafting.plan.cut is not None else needs

    @property
    def stops_early(self) -> bool:
        return self._guard.active and self._guard.policy.stops_early

    def may_stop(self, drafting: Drafting, *, sampled: bool) -> bool:
        """Whether the hooks may end this draft; `sampled` as in `select`.

        Not where the plan's cut ranks sampled slots: a stop depends on the tokens drawn, and which slots there are to
        rank would then decide over a token drawn before.
        """
        ranks = lossless.ranks(drafting.plan.cut) and sampled and bool((drafting.view.temperature > 0).any())
        return self.stops_early and not ranks

    def go_on(self, seen: DraftObservation) -> bool:
        """After slot j: draft slot j + 1?"""
        return self._guard.after_draft(seen) and self._guard.before_draft(seen.j + 1)

    def select(
        self, drafting: Drafting, k: int, features: Mapping[Feature, FloatArray], *, sampled: bool, draft_s: float
    ) -> IntArray:
        """Verify lengths [B] for `k` drafted slots; `sampled`: the drafts were drawn, not argmax."""
        drafting.stopped_early = k < drafting.k
        for values in features.values():
            values.flags.writeable = False  # the plan's cut is applied to them after the policy has seen them
        drafting.k, drafting.features, drafting.draft_s = k, features, draft_s
        drafting.lengths = drafting.most = np.minimum(drafting.most, k)
        if k:
            drafting.lengths = self._lengths(drafting, sampled=sampled)
        self.telemetry.drafted(k, int(drafting.most.sum()), draft_s, stopped_early=drafting.stopped_early)
        drafting.teaches = self._teaches(drafting)
        self._guard.spent(self._watchdog.take_step_s(), self._step_s)
        return drafting.lengths

    def draft_failed(self, error: Exception) -> None:
        """The draft model raised: plain decoding for a while, then it is tried again."""
        if not self._guard.faults[DRAFT_FAILED]:
            log.warning("adaspec: the draft failed, decoding goes on without it: %r", error)
        self._guard.fall_back(DRAFT_FAILED, repr(error))

    def feedback(self, drafting: Drafting, seen: Verified) -> None:
        """Tell models and policy what became of `drafting`."""
        self._step_s = self._step_s if seen.idle else seen.step_s
        rows = seen.rows
        ids = drafting.view.request_ids
        answer = StepFeedback(
            step=drafting.view.step,
            request_ids=tuple(ids[r] for r in rows),
            k=drafting.k,
            drafted=drafting.most[rows],
            verified=seen.submitted,
            accepted=seen.accepted,
            features={name: values[rows] for name, values in drafting.features.items()},
            context_tokens=int(drafting.view.context_tokens[rows].sum()),
            prefill_tokens=seen.prefill_tokens,
            draft_s=drafting.draft_s,
            verify_s=seen.verify_s,
            step_s=seen.step_s,
            catch_up_tokens=drafting.catch_up_tokens,
            idle=seen.idle,
        )
        due = drafting.teaches and (answer.k == 0 or answer.step % PREDICT_EVERY == 0)
        predicted_s = self._guard.attempt(lambda: self._predict(answer)) if due else None  # before it learns from it
        if drafting.teaches or seen.prefill_tokens:
            self._guard.attempt(lambda: self.models.observe(answer))
            self._watchdog.take_step_s()  # learning is the engine's time, not the policy's: it must not trip its limit
        if drafting.guard is self._guard:  # one that came in between did not plan this, and may need what is not here
            self._guard.feedback(answer)
        self.telemetry.verified(answer, predicted_s)
        lag = drafting.view.draft_lag_tokens[rows]
        self.traces.verified(answer, lag, drafting.plan.reason, stopped_early=drafting.stopped_early)

    # ---- between steps ------------------------------------------------------------------------------------

    def set_policy(self, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Swap live. Same name: the new parameters keep the learned state. A bad spec leaves the old one serving."""
        try:
            spec = PolicySpec(name=name, params=dict(params))
            guard = self._guarded(spec)
        except Exception as error:  # noqa: BLE001 - the boundary: a user's constructor may raise anything
            self._rejection = str(error) or type(error).__name__
            self.telemetry.fallbacks["reload_rejected"] += 1
            log.warning("adaspec: policy rejected, %r goes on: %s", self.spec.name, self._rejection)
            return {"ok": False, "error": self._rejection, "policy": self.spec.model_dump()}
        if name == self.spec.name:
            guard = self._restored(guard, spec, self._guard.policy.snapshot)
        self.telemetry.fallbacks.update(self._guard.faults)
        self._guard, self.spec, self._rejection, self._holds = guard, spec, None, 0
        return {"ok": True, "error": None, "policy": spec.model_dump()}

    def exchange(self, outlook: LoadOutlook | None) -> dict[str, Any]:
        """Take the monitor's outlook, give the replica's report (JSON-able)."""
        if outlook is not None:
            self.outlook, self._outlook_at_s = outlook, time.monotonic()
        faults = self.telemetry.fallbacks + self._guard.faults
        report = self.telemetry.report(
            time.time(),
            fallbacks=dict(faults),
            decide_s=self._watchdog.total_s,
            policy=self.spec.name,
            policy_state=self._explain(),
            last_rejection=self._rejection,
            what_if=what_if(self.models, self._view) if self._view is not None and self._view.batch else None,
            traced=self.traces.take(),
        )
        return report.model_dump(mode="json")

    def current_outlook(self) -> LoadOutlook | None:
        """The outlook with its age as of now."""
        if self.outlook is None:
            return None
        return self.outlook.model_copy(update={"age_s": self.outlook.age_s + time.monotonic() - self._outlook_at_s})

    def snapshot(self) -> dict[str, Any]:
        """Learned models and policy state, for a sibling replica's start."""
        return {
            "cost": self.models.cost.snapshot(),
            "acceptance": self.models.acceptance.snapshot(),
            "policy": {"name": self.spec.name, "state": self._guard.snapshot()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.models.cost.restore(state["cost"])
        self.models.acceptance.restore(state["acceptance"])
        if state["policy"]["name"] == self.spec.name and state["policy"]["state"] is not None:
            self._guard = self._restored(self._guard, self.spec, lambda: state["policy"]["state"])

    # ---- parts ------------------------------------------------------------------------------------------------

    def _guarded(self, spec: PolicySpec) -> Guard:
        settings = self._settings
        limits = Limits(soft_s=settings.soft_limit_ms / 1e3, soft_share=settings.soft_limit_share)
        policy = self._between_steps(lambda: build(spec, self._context))
        return Guard(policy, limits, self._watchdog.run, self._watchdog.came_from_outside)

    def _between_steps(self, act: Callable[[], T]) -> T:
        """Building, saving and restoring a policy: no step's hooks, with a time limit of their own.

        Raises TimeoutError naming the setting, and RuntimeError in place of an exit of the policy's own.
        """
        limit_ms = self._settings.build_limit_ms
        try:
            return self._watchdog.run_within(limit_ms / 1e3, act)
        except Interrupted:
            raise TimeoutError(f"not done within adaspec.build_limit_ms = {limit_ms:g}") from None
        except BaseException as error:
            if isinstance(error, Exception) or self._watchdog.came_from_outside(error):
                raise
            raise RuntimeError(f"the policy raised {type(error).__name__}: {error}") from error
        finally:
            self._watchdog.take_step_s()

    def _restored(self, guard: Guard, spec: PolicySpec, state: Callable[[], Mapping[str, Any]]) -> Guard:
        """`guard` with the state, or a fresh one where it does not fit (say, another policy inside a wrapper)."""
        try:
            self._between_steps(lambda: guard.policy.restore(state()))
        except Exception as error:  # noqa: BLE001 - the boundary: a user's snapshot and restore may raise anything
            self.telemetry.fallbacks["state_not_restored"] += 1
            log.warning("adaspec: policy %r starts afresh, its learned state does not fit: %r", spec.name, error)
            return self._guarded(spec)
        return guard

    def _lengths(self, drafting: Drafting, *, sampled: bool) -> IntArray:
        view, k = drafting.view, drafting.k
        restricted = lossless.restricted_rows(view.temperature, sampled=sampled)
        bundle = DraftBundle(view, drafting.plan, k, _withhold(drafting.features, restricted), restricted)
        selected = self._guard.select(bundle)
        cut = None
        if drafting.plan.cut is not None and restricted.any():
            rule = drafting.plan.cut
            cut = self._guard.attempt(lambda: self._ruled(rule, bundle, drafting.most))
        return lossless.final_lengths(drafting.most, selected, cut, restricted)

    def _ruled(self, rule: Cut, bundle: DraftBundle, most: IntArray) -> IntArray:
        survival: FloatArray = np.cumprod(self.models.acceptance.confident(bundle.features), axis=1, dtype=np.float64)
        return lossless.cut_lengths(rule, survival, most)

    def _teaches(self, drafting: Drafting) -> bool:
        if drafting.k:
            return self._drafts_teach(drafting.view)
        batch = drafting.view.batch
        if batch != self._batch or drafting.plan.holds:  # one that holds stands for those it held for
            self._alike, self._batch = 0, batch
            return True
        self._alike += 1
        return self._alike % PLAIN_EVERY == 0

    def _drafts_teach(self, view: StepView) -> bool:
        self._alike = self._batch = 0  # the first plain step after drafts is like none before it
        self._fresh = max(self._fresh - 1, 0)
        rare = view.prefill_tokens > 0 or view.draft_lag_tokens.any()  # the draft takes more along
        return bool(self._fresh or rare or view.step % DRAFTS_EVERY == 0)

    def _predict(self, seen: StepFeedback) -> float | None:
        """Of the step as it was: which prompts came with it, nobody could know when it was planned."""
        load = StepLoad(seen.batch, seen.context_tokens, seen.prefill_tokens, seen.catch_up_tokens)
        predicted = float(self.models.cost.step_s(load, seen.k, int(seen.verified.sum())))
        return predicted if np.isfinite(predicted) else None

    def _explain(self) -> dict[str, Any]:
        state = self._guard.explain()
        self._watchdog.take_step_s()  # or it would count as the next step's
        return {**state, "cost": self.models.cost.explain(), "acceptance": self.models.acceptance.explain()}


def _withhold(features: Mapping[Feature, FloatArray], restricted: np.ndarray[Any, Any]) -> Mapping[Feature, FloatArray]:
    if "sampled_p" not in features or not restricted.any():
        return features
    return {**features, "sampled_p": np.where(restricted[:, None], np.nan, features["sampled_p"])}
