"""The default: the most goodput that leaves every request within its SLO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from policies.api import (
    HOLDS,
    Cut,
    DraftBundle,
    DraftObservation,
    Feature,
    FloatArray,
    PolicyContext,
    StepFeedback,
    StepPlan,
    StepView,
    VerifyPlan,
)
from policies.base import BasePolicy, Params, most_k
from policies.chains import WORTHS, ChainMemory, surely_worth
from policies.estimators.slo import deadline_s, needed_tokens
from policies.exchange import LoadOutlook
from policies.models import StepLoad
from policies.pricing import Price, price
from policies.probing import ProbeBudget, Reminder
from policies.prompts import Prompts
from policies.survival import Ranking, cut_off, prefix_survival, usable_slots

NO_LOAD = (-1,)
REFRESH_STEPS = 8  # the yields move slowly; computing them is the dearest part of a step


class SloGoodputParams(Params):
    """Every default is safe without knowing the machine; none needs a profile."""

    k: int = Field(default=8, ge=0, le=64, description="most draft tokens per request")
    margin: float = Field(default=0.04, ge=0, le=1, description="gain in tokens/s needed to start; half of it to go on")
    dwell_steps: float = Field(default=32, ge=1, description="steps a start is expected to last, before any was seen")
    look_ahead_s: float = Field(
        default=0.25, ge=0, description="how much of a surge in the outlook to expect: this / horizon"
    )
    surge: float = Field(default=2.0, ge=1, description="batch in the outlook / batch now from which it is heeded")
    outlook_age_s: float = Field(default=2.0, ge=0, description="an older outlook is ignored")
    slo_share: float = Field(default=0.95, gt=0, le=1, description="share of the TPOT objective aimed at")
    urgency: float = Field(default=0.3, ge=0, description="say of late requests together, relative to the whole batch")
    urgent_tokens: float = Field(default=4.0, gt=0, description="tokens behind at which a request is fully urgent")
    early_stop: bool = Field(
        default=True, description="decide slot by slot; off saves a synchronisation a slot on a GPU"
    )
    probe_share: float = Field(default=0.01, ge=0, le=1, description="share of time that probing may cost while K = 0")
    probe_k: int = Field(default=2, ge=1, le=64, description="draft tokens per request in a probe")
    probe_requests: int = Field(default=4, ge=1, description="requests whose probe drafts are verified")


class SloGoodput(BasePolicy[SloGoodputParams]):
    """Prices time at the best rate the present load allows, then buys slots while they are worth their time.

    plan: over K and verify thresholds, expected tokens / predicted time from what drafts looked like lately; the best
    rate (tokens/s) is the price of time. Draft if it beats plain decoding by a margin, the catch-up of the draft's
    cache spread over the expected dwell. after_draft: stop when the next slot's expected worth is below its time.
    select: the slots whose survival x weight is worth their verify time, exactly, over all totals. Requests behind
    their SLO weigh more, so they are served first and everybody's step gets shorter.
    Source: renewal-reward pricing of TurboSpec's goodput (arXiv 2406.14066); AdaSpec's predict-execute-correct
    (2503.05096); AdaServe's urgent-first selection (2501.12162, alg. 2); SMART's marginal rule (2604.09731); Nightjar's
    switching cost (2512.22420).
    """

    name = "slo_goodput"
    needs: frozenset[Feature] = frozenset({"top1"})
    Params = SloGoodputParams

    def __init__(self, params: SloGoodputParams, context: PolicyContext) -> None:
        super().__init__(params, context)
        self.stops_early = params.early_stop
        self._chains = ChainMemory(context.k_max)
        self._yields = self._chains.yields(self._confident)
        self._probe, self._reminder = ProbeBudget(params.probe_share), Reminder()
        self._drafting, self._episode = False, 0
        self._dwell = params.dwell_steps
        self._step, self._unseen = 0, 0  # the last one planned; plain ones whose chains are not grown old yet
        self._prompts = Prompts()
        # This step's, set by plan():
        self._load: StepLoad
        self._price: Price
        self._priced_for: tuple[int, ...] = ()
        self._promise: FloatArray | None = None  # [K, len(WORTHS)]; None: not asked for yet
        self._weights: FloatArray | None = None
        self._worths: FloatArray  # [K, B] survival x weight of each slot drafted
        self._slots = 0  # of them known
        self._probing = False

    # ---- before drafting

    def plan(self, view: StepView) -> StepPlan:
        k = most_k(view, self.params.k)
        self._probing = False
        since, self._step = min(max(view.step - self._step, 1), HOLDS + 1), view.step
        if k == 0:
            return StepPlan(k=0, reason="no_room")
        self._load = _without_prompts(view)
        load = self._expected_load(view)
        key = (k, load.batch, load.prefill_tokens, load.lag_tokens)
        if key != self._priced_for:
            self._price = price(self.context.models.cost, load, self._yields, k, self._prompts)
            self._priced_for, self._promise = key, None
        found = self._price
        drafting = self._worth_drafting(found.rate, found.plain_rate)
        if self._reminder.due(drafting=drafting):
            return StepPlan(k=0, reason="probe")
        if not drafting:
            self._look_away(since, view.batch)
            return self._stay_plain(view, since)
        self._weights = self._urgency(view, found.step_s, found.tokens)
        self._worths, self._slots = np.empty((k, view.batch)), 0
        return StepPlan(k=k if self.params.early_stop else found.k, reason="draft", cut=self._cut(view))

    def _expected_load(self, view: StepView) -> StepLoad:
        """The step's load, moved towards the outlook's batch; catch-up spread over the expected dwell."""
        load, outlook = self._load, view.outlook
        lag, batch = int(load.lag_tokens / self._dwell), load.batch
        if outlook is not None and self._foresees_surge(outlook, batch):
            near = min(1.0, self.params.look_ahead_s / outlook.horizon_s)
            batch += round(near * (outlook.expected_batch_p50 - batch))
        if (lag, batch) == (load.lag_tokens, load.batch):
            return load
        context = load.context_tokens * batch // load.batch
        return StepLoad(batch, context, load.prefill_tokens, lag)

    def _foresees_surge(self, outlook: LoadOutlook, batch: int) -> bool:
        """Ordinary ups and downs are not worth acting on: drafting less now costs now, and they may not come."""
        fresh = outlook.age_s <= self.params.outlook_age_s
        return fresh and outlook.expected_batch_p50 > self.params.surge * batch

    def _worth_drafting(self, best: float, plain: float) -> bool:
        """Hysteresis in the rate; also keeps count of how long episodes of drafting last.

        Drafting that gains next to nothing stops: near an SLO a small loss costs whole requests.
        """
        needed = self.params.margin * (0.5 if self._drafting else 1.0)
        wanted = best > plain * (1.0 + needed)
        if self._drafting and not wanted:
            self._dwell = max(1.0, 0.75 * self._dwell + 0.25 * self._episode)
        self._episode = self._episode + 1 if wanted and self._drafting else 0
        self._drafting = wanted
        return wanted

    def _urgency(self, view: StepView, step_s: float, tokens: float) -> FloatArray | None:
        """[B] weights, mean 1, of requests that the next step would leave behind their SLO; None: all alike."""
        behind = needed_tokens(view, step_s, self.params.slo_share) - tokens
        if np.maximum.reduce(behind) <= 0.0:
            return None
        most = self.params.urgent_tokens
        severity: FloatArray = np.minimum(np.maximum(behind, 0.0), most)
        total = float(np.add.reduce(severity)) / most
        say = self.params.urgency * view.batch / max(total, 1.0)
        mean = 1.0 + say * total / view.batch
        severity *= say / (mean * most)
        severity += 1.0 / mean
        return severity

    def _cut(self, view: StepView) -> Cut | None:
        """The verify rule for requests with sampled drafts: the same threshold, fixed before they are drawn."""
        return Cut(min_survival=self._price.least) if np.maximum.reduce(view.temperature) > 0 else None

    def _stay_plain(self, view: StepView, since: int) -> StepPlan:
        """K = 0, or a probe when enough time was saved up in the `since` last steps and no objective would break."""
        k = most_k(view, min(self.params.probe_k, self.params.k))
        verified = k * min(self.params.probe_requests, view.batch)
        cost = self.context.models.cost
        plain_s, probe_s = float(cost.step_s(self._load, 0, 0)), float(cost.step_s(self._load, k, verified))
        charged_s = self._probe.charge(plain_s, probe_s)
        if not self._probe.afford(plain_s, probe_s, since) or self._would_break(view, plain_s, charged_s):
            return StepPlan(k=0, reason="plain", holds=HOLDS)
        self._probe.spend(plain_s, probe_s)
        self._probing = True
        limits = np.zeros(view.batch, np.int64)
        limits[(view.step + np.arange(min(self.params.probe_requests, view.batch))) % view.batch] = k
        return StepPlan(k=k, reason="probe", k_by_request=limits)

    @staticmethod
    def _would_break(view: StepView, plain_s: float, probe_s: float) -> bool:
        allowed = deadline_s(view, 1.0)
        return bool(((allowed >= plain_s) & (allowed < probe_s)).any())

    # ---- while drafting

    def after_draft(self, seen: DraftObservation) -> bool:
        if self._probing:
            return True
        worth, confident = self._worths[seen.j], self._confident(seen.features)
        before = self._worths[seen.j - 1] if seen.j else self._weights
        if before is None:
            worth[:] = confident
        else:
            np.multiply(before, confident, out=worth)
        self._slots = j = seen.j + 1
        return j >= len(self._price.pass_price) or self._pays(j, worth)

    def _pays(self, j: int, worth: FloatArray) -> bool:
        """Whether slot `j`, after prefixes of `worth` [B], is expected to be worth its draft pass."""
        if self._promise is None:
            self._promise = self._yields.promise(self._price.least)
        promise, due = self._promise[j], self._price.pass_price[j]
        if surely_worth(promise, float(np.add.reduce(worth)) / len(worth), due / len(worth)):
            return True
        return bool(np.add.reduce(np.interp(worth, WORTHS, promise)) > due)

    def _confident(self, features: Mapping[Feature, FloatArray]) -> FloatArray:
        return self.context.models.acceptance.confident(features)

    # ---- after drafting

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        if self._probing:
            return VerifyPlan()
        ranking = Ranking(self._worth(bundle))
        tokens = bundle.view.batch + ranking.totals()
        verified = np.arange(len(tokens))
        cost_s = self._prompts.step_s(self.context.models.cost, self._load, bundle.k, verified)
        return VerifyPlan(ranking.lengths(int((tokens - self._price.rate * cost_s).argmax())))

    def _worth(self, bundle: DraftBundle) -> FloatArray:
        """[B, k] survival x weight; what after_draft() worked out, unless the engine did not ask it."""
        limit = usable_slots(bundle)
        if self._slots == bundle.k:
            return cut_off(self._worths[: bundle.k].T, limit)
        survival = prefix_survival(self._confident(bundle.features), limit)
        return survival if self._weights is None else survival * self._weights[:, None]

    def feedback(self, seen: StepFeedback) -> None:
        self._prompts.observe(seen)
        if not seen.k or not seen.batch:
            return
        if self._probing and not seen.idle:
            self._probe.settle(seen.step_s)
        self._chains.add(seen.features["top1"], lone=self._probing)
        if self._chains.stale(REFRESH_STEPS) or self._probing:
            self._refresh()

    def _look_away(self, steps: int, batch: int) -> None:
        """What drafts looked like grows as old without drafts as with them."""
        self._unseen += steps
        if self._unseen >= REFRESH_STEPS:
            self._chains.forget(self._unseen * batch)
            self._unseen = 0
            self._refresh()

    def _refresh(self) -> None:
        """Look at the drafts again; the next plan prices anew."""
        self._yields, self._priced_for = self._chains.yields(self._confident), NO_LOAD

    # ---- state

    def snapshot(self) -> dict[str, Any]:
        return {
            "chains": self._chains.snapshot(),
            "probe": self._probe.snapshot(),
            "reminder": self._reminder.snapshot(),
            "drafting": self._drafting,
            "episode": self._episode,
            "dwell": self._dwell,
            "prompts": self._prompts.snapshot(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._chains.restore(state["chains"])
        self._probe.restore(state["probe"])
        self._reminder.restore(state["reminder"])
        self._drafting, self._episode = bool(state["drafting"]), int(state["episode"])
        self._dwell = float(state["dwell"])
        self._prompts.restore(state["prompts"])
        self._refresh()

    def explain(self) -> dict[str, Any]:
        state = {"dwell_steps": self._dwell, "drafting": self._drafting}
        price: Price | None = vars(self).get("_price")  # none before the first plan
        if price is not None:
            state |= {"tokens_per_s": price.rate, "least_survival": price.least}
        return {"params": self.params.model_dump(mode="json"), "state": state}


def _without_prompts(view: StepView) -> StepLoad:
    """The decode part of the step to come.

    The time of prompts is spent whatever K is: counted in, it makes every draft token look cheap beside it. Those of
    the step just done also say little of the next one's.
    """
    context, lag = int(np.add.reduce(view.context_tokens)), int(np.add.reduce(view.draft_lag_tokens))
    return StepLoad(view.batch, context, 0, lag)
