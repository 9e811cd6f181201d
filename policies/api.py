"""The contract between an engine and a policy: what a policy sees, what it answers.

One step runs `plan` -> [`before_draft` -> draft -> `after_draft`]* -> `select` -> (verify, next step) -> `feedback`.
Arrays are numpy; B is the number of decode requests in the step and K the number of draft slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from policies.exchange import LoadOutlook
from policies.models import Models

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

Feature = Literal["top1", "margin", "entropy", "sampled_p"]
"""What a policy may ask to see of each draft distribution q:
`top1` its largest probability, `margin` its top-2 logit gap, `entropy` in nats: known before the token is sampled.
`sampled_p` is q(sampled token); it is NaN for requests whose exactness it would break (`DraftBundle.restricted`)."""


@dataclass(frozen=True, slots=True)
class StepView:
    """A step as of the end of the verify that came before it. Decode requests only, in engine order."""

    step: int  # steps that an answer held for are counted
    at_s: float  # the worker's monotonic clock
    k_max: int  # the engine's buffers hold this many draft tokens per request
    request_ids: tuple[str, ...]
    context_tokens: IntArray  # [B]
    emitted_tokens: IntArray  # [B] output tokens so far
    elapsed_decode_s: FloatArray  # [B] since the request's first token
    tpot_slo_s: FloatArray  # [B] inf: no objective
    temperature: FloatArray  # [B] 0: greedy
    draft_lag_tokens: IntArray  # [B] tokens missing from the draft's KV cache
    k_limit: IntArray  # [B] most draft tokens this request can take (length edge)
    prefill_tokens: int = 0  # prompt tokens computed in the step just done
    waiting: int | None = None  # requests queued in the engine; None: unknown (plain worker, no scheduler hook)
    waiting_prefill_tokens: int | None = None
    token_budget: int | None = None  # most tokens one step may schedule
    free_kv_fraction: float | None = None
    outlook: LoadOutlook | None = None

    @property
    def batch(self) -> int:
        return len(self.request_ids)


@dataclass(frozen=True, slots=True)
class Cut:
    """A verify rule fixed before anything is drafted, applied by the engine to prefix survivals.

    It uses pre-sample features only and walks the slots in falling survival, so it cannot bias a sampled token
    (a request's own later slots never outrank its earlier ones). Where it ranks slots of sampled drafts, by
    `budget_tokens` or `cost_s`, the engine ends no draft early: a stop depends on tokens drawn, the ranking must not.
    """

    budget_tokens: int | None = None  # keep at most this many draft tokens over the batch
    min_survival: float | None = None  # keep slots whose prefix survival is at least this
    cost_s: FloatArray | None = None  # [n+1] predicted step time by draft tokens verified: stop at the first decrease
    # of (B + sum of survivals) / cost_s


HOLDS = 7
"""The most steps an answer of K = 0 may hold for; what is more counts as this."""


@dataclass(frozen=True, slots=True)
class StepPlan:
    """How far to draft. `k_by_request` [B] lowers `k` for single requests; the draft loop runs to the largest.

    `holds` further steps at K = 0 the policy need not be asked for, while the same requests decode a token each: the
    engine takes them as one without speculation does, and nothing is learned from them.
    """

    k: int
    reason: str = ""
    k_by_request: IntArray | None = None
    cut: Cut | None = None
    draft_memory: Literal["keep", "offload", "reload"] = "keep"
    holds: int = 0


@dataclass(frozen=True, slots=True)
class DraftObservation:
    """Draft slot `j` (0-based) of every request, just sampled. Features are [B]."""

    j: int
    features: Mapping[Feature, FloatArray]
    elapsed_s: float  # since drafting began in this step


@dataclass(frozen=True, slots=True)
class DraftBundle:
    """All that was drafted. Features are [B, K]; `restricted` [B] marks requests whose lengths `plan.cut` decides.

    A request is restricted when its draft was sampled (not argmax) at temperature > 0: a length chosen by looking at
    all slots at once would then bias the output. `select`'s answer is ignored for it.
    """

    view: StepView
    plan: StepPlan
    k: int
    features: Mapping[Feature, FloatArray]
    restricted: BoolArray


@dataclass(frozen=True, slots=True)
class VerifyPlan:
    """How many of its draft tokens each request has verified: lengths [B], 0..K. None: all that was drafted."""

    lengths: IntArray | None = None


@dataclass(frozen=True, slots=True)
class StepFeedback:
    """What became of a plan: the drafts of `step` were verified in the engine step after it."""

    step: int
    request_ids: tuple[str, ...]  # requests of the plan that were verified
    k: int  # slots the draft loop ran
    drafted: IntArray  # [B] usable draft tokens
    verified: IntArray  # [B] draft tokens submitted
    accepted: IntArray  # [B]
    features: Mapping[Feature, FloatArray]  # [B, K]
    context_tokens: int  # sum over requests, at planning
    prefill_tokens: int  # prompt tokens computed beside the verify
    draft_s: float
    verify_s: float
    step_s: float  # wall period: from the end of one verify to the end of the next
    catch_up_tokens: int = 0
    idle: bool = False  # the engine waited for work inside this period: do not learn times from it

    @property
    def batch(self) -> int:
        return len(self.request_ids)


@dataclass(frozen=True, slots=True)
class PolicyContext:
    """What a policy is built with. Models are shared: they outlive a change of policy."""

    k_max: int
    models: Models
    seed: int = 0
    offloads: bool = False  # the engine heeds `StepPlan.draft_memory`


class Policy(Protocol):
    """A speculative-length controller. Subclass `policies.base.BasePolicy`, or write a plain `StepView -> int`."""

    name: str
    needs: frozenset[Feature]
    stops_early: bool  # False: the engine skips the per-slot hooks (on a GPU each costs a synchronisation)

    def plan(self, view: StepView) -> StepPlan: ...
    def before_draft(self, j: int) -> bool: ...
    def after_draft(self, seen: DraftObservation) -> bool: ...
    def select(self, bundle: DraftBundle) -> VerifyPlan: ...
    def feedback(self, seen: StepFeedback) -> None: ...
    def snapshot(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...
    def explain(self) -> dict[str, Any]: ...
