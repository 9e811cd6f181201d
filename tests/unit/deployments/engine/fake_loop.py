"""An engine reduced to the calls it makes on a `PolicyHost`: plan, draft, select, verify, feedback."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deployments.engine.host import Drafting, PolicyHost, Verified
from deployments.engine.settings import EngineSettings
from policies.api import DraftObservation, Feature, FloatArray
from policies.exchange import ReplicaReport
from policies.models import Models
from policies.registry import PolicySpec
from tests.unit.policies.worlds import features_of, make_view

K_MAX = 4
WRAPPED = {"probed", "steady"}  # policies that need another one inside
OWN = "tests.unit.deployments.engine.own_policies:"


def new_host(
    name: str, settings: dict[str, Any] | None = None, models: Models | None = None, **params: Any
) -> PolicyHost:
    """Limits are far away unless `settings` says otherwise: a busy machine must not fail a test."""
    limits = {"soft_limit_ms": 1e6, "hard_limit_ms": 6e4, "build_limit_ms": 6e4, **(settings or {})}
    return PolicyHost(EngineSettings(policy=PolicySpec(name=name, params=params), **limits), K_MAX, models)


class Loop:
    """Steps with `batch` requests; every draft token is as sure as `rng` says and accepted with that chance."""

    def __init__(self, host: PolicyHost, batch: int = 3, temperature: ArrayLike = 0.0, seed: int = 0) -> None:
        self.host, self.batch = host, batch
        self.temperature = np.broadcast_to(np.asarray(temperature, np.float64), (batch,))
        self._rng = np.random.default_rng(seed)
        self.steps = 0
        self.token_s = 1e-3  # of the target's pass
        self.chance: float | None = None  # of a draft token; None: its confidence

    def step(self, *, sampled: bool = False, **view: Any) -> Drafting:
        drafting = self.draft(sampled=sampled, **view)
        self.verify(drafting)
        return drafting

    def draft(self, *, sampled: bool = False, **view: Any) -> Drafting:
        """The first half: a plan and its drafts."""
        self.steps += 1
        view = {"step": self.steps, "k_max": K_MAX, "k_limit": np.full(self.batch, K_MAX), **view}
        drafting = self.host.plan(make_view(self.batch, temperature=self.temperature, **view))
        self._confidence = self._rng.uniform(0.3, 1.0, (self.batch, K_MAX))
        shown = features_of(self._confidence)
        features = {name: values for name, values in shown.items() if name in self._needs(drafting)}
        k = self._draft(drafting, features, sampled=sampled)
        kept = {name: values[:, :k].copy() for name, values in features.items()}
        self.host.select(drafting, k, kept, sampled=sampled, draft_s=1e-3 * k)
        return drafting

    def run(self, steps: int, **step: Any) -> list[int]:
        """K of each step."""
        return [self.step(**step).k for _ in range(steps)]

    def report(self) -> ReplicaReport:
        """As it arrives at the monitor: through JSON, every field known."""
        return ReplicaReport.model_validate(json.loads(json.dumps(self.host.exchange(None))))

    def _needs(self, drafting: Drafting) -> frozenset[Feature]:
        return self.host.needs(drafting) if drafting.k else frozenset()

    def _draft(self, drafting: Drafting, features: dict[Feature, FloatArray], *, sampled: bool) -> int:
        for j in range(drafting.k):
            seen = DraftObservation(j, {name: values[:, j] for name, values in features.items()}, 1e-3)
            if j + 1 < drafting.k and self.host.may_stop(drafting, sampled=sampled) and not self.host.go_on(seen):
                return j + 1
        return drafting.k

    def verify(self, drafting: Drafting) -> None:
        """The second: its drafts are verified, a token is as likely to be accepted as its draft was sure."""
        chance = self._confidence if self.chance is None else np.full((self.batch, K_MAX), self.chance)
        hits = np.logical_and.accumulate(self._rng.random(chance.shape) < chance, axis=1).sum(1)
        submitted = drafting.lengths
        accepted = np.minimum(hits, submitted)
        tokens = int(submitted.sum()) + self.batch
        self.host.telemetry.stepped(int(accepted.sum()) + self.batch)
        verify_s = 0.02 + self.token_s * tokens
        step_s = verify_s + drafting.draft_s + 1e-3
        rows = np.arange(self.batch)
        self.host.feedback(drafting, Verified(rows, submitted, accepted, 0, verify_s, step_s, idle=False))
