"""Nothing a policy does may harm a request: clamp what is too large, refuse what is impossible, fall back on faults.

Pure: the engine's watchdog interrupts loops (by raising `Interrupted` inside a hook) and reports time spent.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, cast, get_args

import numpy as np
from pydantic_core import to_jsonable_python

from policies.api import (
    HOLDS,
    Cut,
    DraftBundle,
    DraftObservation,
    Feature,
    FloatArray,
    IntArray,
    Policy,
    StepFeedback,
    StepPlan,
    StepView,
    VerifyPlan,
)
from policies.base import BasePolicy

T = TypeVar("T")

OPTIONAL = ("before_draft", "after_draft", "select", "feedback")
"""Hooks not worth a timer around them where a policy has left them as they are."""


class Interrupted(BaseException):
    """Raised inside a policy hook by the engine's timer. Not an Exception: a policy's own handler must not eat it."""


class Impossible(ValueError):
    """An answer no engine can execute."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a policy is too slow, and how long it is set aside after a fault."""

    soft_s: float = 0.002  # one step's hooks together,
    soft_share: float = 0.1  # or this share of the step where that is more
    soft_times: int = 3  # this often ...
    soft_window_steps: int = 100  # ... within so many steps: fall back
    cooldown_steps: int = 256  # first fallback; doubles with every further one
    cooldown_most_steps: int = 65536
    forgiven_after: int = 10  # cool-downs without a fault: the next one is the first again


def stops_process(error: BaseException) -> bool:
    """What no hook may swallow: the user's Ctrl-C."""
    return isinstance(error, KeyboardInterrupt)


class Runner(Protocol):
    """Runs a hook: the engine's watchdog, or a plain call."""

    def __call__(self, hook: Callable[[], T], /) -> T: ...


def call(hook: Callable[[], T], /) -> T:
    """Without a watchdog."""
    return hook()


class Guard:
    """Wraps a policy. After a fault the answer is K = 0 for a cool-down that doubles each time; then it is tried again.

    `faults` counts by kind: `raised:<type>`, `impossible`, `interrupted`, `overrun`, `clamped` (no fallback).
    `passes` tells the exceptions that are not the policy's own: they are left to the engine.
    """

    def __init__(
        self,
        policy: Policy,
        limits: Limits | None = None,
        run: Runner = call,
        passes: Callable[[BaseException], bool] = stops_process,
    ) -> None:
        self.policy = policy
        self._run, self._passes = run, passes
        self.needs = valid_needs(policy)
        self._own = frozenset(hook for hook in OPTIONAL if _overrides(policy, hook))
        self.limits = limits or Limits()
        self.faults: Counter[str] = Counter()
        self.last_fault: str | None = None
        self._step = 0
        self._resume_at = self._explain_at = 0
        self._cooldown = self._explain_pause = self.limits.cooldown_steps
        self._overruns: deque[int] = deque(maxlen=self.limits.soft_times)

    @property
    def active(self) -> bool:
        """False while falling back to plain decoding."""
        return self._step >= self._resume_at

    def plan(self, view: StepView) -> StepPlan:
        self._step += 1
        if not self.active:
            return StepPlan(k=0, reason="fallback")
        plan = self.attempt(lambda: valid_plan(self.policy.plan(view), view))
        if plan is None:
            return StepPlan(k=0, reason="fallback")
        if plan.k > view.k_max:
            self.faults["clamped"] += 1
            return replace(plan, k=view.k_max)
        return plan

    def before_draft(self, j: int) -> bool:
        return self.active and self._ask("before_draft", lambda: bool(self.policy.before_draft(j))) is True

    def after_draft(self, seen: DraftObservation) -> bool:
        return self.active and self._ask("after_draft", lambda: bool(self.policy.after_draft(seen))) is True

    def select(self, bundle: DraftBundle) -> IntArray:
        """Verify lengths [B]; after a fault nothing is verified, which is always exact."""
        if not self.active:
            return np.zeros(bundle.view.batch, np.int64)
        plan = self._ask("select", lambda: valid_lengths(self.policy.select(bundle), bundle))
        return np.zeros(bundle.view.batch, np.int64) if plan is None else plan

    def feedback(self, seen: StepFeedback) -> None:
        if self.active:
            self._ask("feedback", lambda: self.policy.feedback(seen))

    def spent(self, seconds: float, step_s: float = 0.0) -> None:
        """Time all hooks of this step took; `step_s` of the step before. Three overruns in 100 steps: fallback."""
        if seconds <= max(self.limits.soft_s, self.limits.soft_share * step_s) or not self.active:
            return
        self._overruns.append(self._step)
        full = len(self._overruns) == self.limits.soft_times
        if full and self._step - self._overruns[0] < self.limits.soft_window_steps:
            self._overruns.clear()
            self.fall_back("overrun", f"{seconds * 1e3:.1f} ms in one step's hooks")

    def explain(self) -> dict[str, Any]:
        """What an operator sees. No step's hook: a fault in it costs no drafting, and it is not asked for a while."""
        asked = self._step >= self._explain_at
        state = (self._watched(lambda: plain_json(self.policy.explain()), self._mute) if asked else None) or {}
        return {**state, "fallback": not self.active, "faults": dict(self.faults), "last_fault": self.last_fault}

    def snapshot(self) -> dict[str, Any] | None:
        """The policy's learned state; None after a fault, which costs no drafting either."""
        return self._watched(lambda: dict(self.policy.snapshot()), self._count)

    def _ask(self, name: str, hook: Callable[[], T]) -> T | None:
        """`attempt`, or the call alone where the hook is the base's own."""
        return self.attempt(hook) if name in self._own else hook()

    def attempt(self, hook: Callable[[], T]) -> T | None:
        """The hook's answer, or None after a fault. Also for the shared models: they learn in the same step loop."""
        return self._watched(hook, self.fall_back)

    def _watched(self, hook: Callable[[], T], blame: Callable[[str, str], None]) -> T | None:
        try:
            return self._run(hook)
        except Interrupted:
            blame("interrupted", "a hook ran into the hard time limit")
        except Impossible as error:
            blame("impossible", str(error))
        except BaseException as error:  # the boundary: a policy is somebody else's code, sys.exit() too
            if self._passes(error):
                raise
            blame(f"raised:{type(error).__name__}", str(error))
        return None

    def _count(self, kind: str, detail: str) -> None:
        self.faults[kind] += 1
        self.last_fault = f"{kind}: {detail}"

    def _mute(self, kind: str, detail: str) -> None:
        """An explanation that loops costs the hard limit each time."""
        self._count(kind, detail)
        self._explain_at = self._step + self._explain_pause
        self._explain_pause = min(2 * self._explain_pause, self.limits.cooldown_most_steps)

    def fall_back(self, kind: str, detail: str) -> None:
        """Plain decoding for a cool-down, and one more fault of this kind; one under way is not made longer."""
        self._count(kind, detail)
        if not self.active:
            return
        if self._step - self._resume_at >= self.limits.forgiven_after * self._cooldown:
            self._cooldown = self.limits.cooldown_steps
        self._resume_at = self._step + self._cooldown
        self._cooldown = min(2 * self._cooldown, self.limits.cooldown_most_steps)


def _overrides(policy: Policy, hook: str) -> bool:
    return getattr(getattr(policy, hook, None), "__func__", None) is not getattr(BasePolicy, hook)


def valid_needs(policy: Policy) -> frozenset[Feature]:
    """The features the policy asks for. Raises ValueError for what is none, or no set of names."""
    known, given = get_args(Feature), cast("object", policy.needs)  # somebody else's attribute
    if not isinstance(given, Collection) or isinstance(given, str) or not all(name in known for name in given):
        raise ValueError(f"needs = {given!r}: give a set of {', '.join(known)}")
    return frozenset(given)


def valid_plan(plan: StepPlan, view: StepView) -> StepPlan:
    """The plan with integer lengths. Raises Impossible for a length that is no whole number >= 0, or a bad cut."""
    k, holds = _whole(plan.k, "k"), min(_whole(plan.holds, "holds"), HOLDS)
    plan = plan if holds == plan.holds else replace(plan, holds=holds)
    if not isinstance(plan.reason, str):
        raise Impossible(f"reason = {plan.reason!r} is not a string")
    if plan.cut is not None:
        cut = _valid_cut(plan.cut)
        plan = plan if cut is plan.cut else replace(plan, cut=cut)
    if plan.k_by_request is None:
        return plan if k == plan.k and type(plan.k) is int else replace(plan, k=k)
    return replace(plan, k=k, k_by_request=_lengths(plan.k_by_request, view.batch, view.k_max, "k_by_request"))


def valid_lengths(plan: VerifyPlan, bundle: DraftBundle) -> IntArray:
    """Verify lengths [B]. Raises Impossible for a wrong shape, NaN, or a length outside 0..K."""
    if plan.lengths is None:
        return np.full(bundle.view.batch, bundle.k, np.int64)
    return _lengths(plan.lengths, bundle.view.batch, bundle.k, "lengths")


def plain_json(state: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in JSON's types. Raises TypeError where it is no mapping, ValueError where it contains itself."""
    found: dict[str, Any] = to_jsonable_python(dict(state), fallback=_plain)
    return found


def _plain(value: Any) -> Any:
    """JSON for numpy, and something to read for anything else."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else repr(value)


def _valid_cut(cut: Cut) -> Cut:
    """With a copy of its times: the policy may not change the rule once it has seen a draft."""
    if cut.budget_tokens is not None:
        _whole(cut.budget_tokens, "cut.budget_tokens")
    if cut.min_survival is not None and np.isnan(cut.min_survival):
        raise Impossible("cut.min_survival is NaN")
    if cut.cost_s is not None:
        cost_s = np.array(cut.cost_s, np.float64)
        if cost_s.ndim != 1 or not cost_s.size or not (cost_s > 0).all():
            raise Impossible("cut.cost_s must be a list of seconds > 0, the first one for no draft token")
        return replace(cut, cost_s=cost_s)
    return cut


def _whole(value: float, name: str) -> int:
    if not np.isfinite(value) or value != int(value) or value < 0:
        raise Impossible(f"{name} = {value!r} is not a whole number >= 0")
    return int(value)


def _lengths(values: Any, batch: int, most: int, name: str) -> IntArray:
    """A copy as integers."""
    array = np.asarray(values)
    array = array if array.dtype == np.int64 else np.asarray(array, dtype=np.float64)
    if array.shape != (batch,):
        raise Impossible(f"{name} has shape {array.shape}, the batch has {batch}")
    if not _all_whole(array, most):
        raise Impossible(f"{name} = {array.tolist()} must be whole numbers in 0..{most}")
    return array.astype(np.int64)


def _all_whole(array: IntArray | FloatArray, most: int) -> bool:
    """Whether all are whole numbers in 0..`most`; NaN is none."""
    inside = np.minimum.reduce(array, initial=0) >= 0 and np.maximum.reduce(array, initial=0) <= most
    return bool(inside and (array.dtype == np.int64 or (array == np.floor(array)).all()))
