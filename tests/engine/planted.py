"""Policies and planted faults for the distribution tests. Imported inside the engine's worker."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from deployments.engine.worker import AdaptiveWorker
from policies.api import Cut, DraftBundle, Feature, PolicyContext, StepPlan, StepView, VerifyPlan
from policies.base import BasePolicy, Params
from policies.controllers.adaspec import AdaSpec, AdaSpecParams
from policies.controllers.slo_goodput import SloGoodput, SloGoodputParams
from policies.estimators.cost import LinearCoefficients, LinearCost


class Ragged(BasePolicy[Params]):
    """Changes everything a policy may change, by step and row: K, how long 0 holds, K per request, cut, selection."""

    name = "ragged"
    needs: frozenset[Feature] = frozenset({"top1"})

    def plan(self, view: StepView) -> StepPlan:
        k = (0, 3, 5, 1, 4)[view.step % 5]
        cut = (None, Cut(budget_tokens=view.batch), Cut(min_survival=0.3))[view.step % 3]
        by_request = (np.arange(view.batch) + view.step) % (k + 1) if view.step % 2 else None
        return StepPlan(k, "ragged", by_request, cut, holds=view.step % 4)

    def select(self, bundle: DraftBundle) -> VerifyPlan:
        return VerifyPlan((np.arange(bundle.view.batch) * 7 + bundle.view.step) % (bundle.k + 1))


class Nosy(BasePolicy[Params]):
    """Asks for every feature, always drafts two: what a planted fault needs to look at."""

    name = "nosy"
    needs: frozenset[Feature] = frozenset({"top1", "entropy", "sampled_p"})

    def plan(self, view: StepView) -> StepPlan:
        return StepPlan(2, "nosy")


class PayingAdaSpec(AdaSpec):
    """Told that drafts pay at every batch: with a model this small the machine's speed decides, and may say never."""

    def __init__(self, params: AdaSpecParams, context: PolicyContext) -> None:
        super().__init__(params, _paying(context))


class PayingSloGoodput(SloGoodput):
    """As `PayingAdaSpec`."""

    def __init__(self, params: SloGoodputParams, context: PolicyContext) -> None:
        super().__init__(params, _paying(context))


def _paying(context: PolicyContext) -> PolicyContext:
    cheap = LinearCoefficients(target_gamma_s=1e-6, request_s=1e-6, draft_gamma_s=1e-6)
    return replace(context, models=replace(context.models, cost=LinearCost(cheap)))


class PlantedWorker(AdaptiveWorker):
    """Can be told to make one of the mistakes the engine exists to prevent."""

    def plant(self, fault: str) -> None:
        """Make one mistake from now on; "" makes none. Instance attributes shadow the right methods."""
        book: Any = self._book
        drafter = self.model_runner.drafter
        vars(book).pop("select", None)
        vars(drafter).pop("_sample_from_logits", None)
        drafter.model._forward_pre_hooks.clear()
        if fault == "draft":
            drafter.model.register_forward_pre_hook(_raise)
        elif fault == "wrong_q":
            sample = drafter._sample_from_logits
            drafter._sample_from_logits = lambda logits, metadata: _top1(sample(logits, metadata))
        elif fault:
            select = book.select
            book.select = lambda k, seen, **rest: _shorten(select(k, seen, **rest), k, FAULTS[fault], seen)


def _raise(*_: object) -> None:
    raise RuntimeError("planted: the draft is broken")


def _top1(drawn: tuple[torch.Tensor, torch.Tensor | None]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The likeliest token, passed off as drawn from q. A batch at temperature 0 has no q: nothing is drawn."""
    tokens, probs = drawn
    return (tokens, None) if probs is None else (probs.argmax(dim=-1), probs)


def _shorten(lengths: Any, k: int, fault: Callable[[Any], Any], seen: Any) -> Any:
    return np.minimum(lengths, fault(seen)) if k == 2 else lengths


def _own_probability(seen: dict[Feature, Any]) -> Any:
    """Drop a token that q itself thought unlikely."""
    return np.cumprod(seen["sampled_p"] >= 0.25, axis=1).sum(axis=1)


def _later_entropy(seen: dict[Feature, Any]) -> Any:
    """Decide slot 1 by the entropy of slot 2, which depends on slot 1's token."""
    return np.where(seen["entropy"][:, 1] > 1.8, 0, 2)


FAULTS = {"own_probability": _own_probability, "later_entropy": _later_entropy}
