"""Which draft tokens the target accepts, and how sure the draft looked: fixed per (request, position).

A greedy target accepts a draft token or not whatever step it is drafted in, so two policies meet the same outcomes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit, logit, ndtri

from loadgen.sim.rng import FloatArray, first_uniforms, uniforms
from loadgen.sim.settings import Settings

ACCEPT, DIFFICULTY, CONFIDENCE, REQUEST = range(4)  # streams of a request
BINS = 10


class Confidence(Settings):
    """The draft's top-1 probability against the true one, in logits: bias + scale * logit(true) + noise."""

    bias: float = Field(default=0.0, description="above 0: over-confident")
    scale: float = Field(default=1.0, gt=0)
    noise: float = Field(default=0.0, ge=0, description="standard deviation")


class Domain(Settings):
    """A kind of text. Acceptance is logit-normal over requests and tokens, with the stated mean."""

    name: str
    share: float = Field(default=1.0, gt=0)
    acceptance: float = Field(default=0.7, gt=0, lt=1, description="mean acceptance rate of a draft token")
    drift: tuple[tuple[float, float], ...] = Field(
        default=(), description="(arrival second, acceptance) knots that replace `acceptance`; linear between them"
    )
    spread_request: float = Field(default=0.4, ge=0, description="standard deviation between requests, logits")
    spread_token: float = Field(default=1.2, ge=0, description="standard deviation between tokens, logits")
    confidence: Confidence = Confidence()
    recorded: Path | None = Field(default=None, description='JSON lines {"top1": [...], "accepted": [...]}')

    def means(self, arrival_s: FloatArray) -> FloatArray:
        """[n] mean acceptance of requests that arrive then."""
        if not self.drift:
            return np.full(len(arrival_s), self.acceptance)
        at, value = np.array(self.drift).T
        return np.asarray(np.interp(arrival_s, at, value))

    def locations(self, arrival_s: FloatArray, keys: NDArray[np.uint64]) -> FloatArray:
        """[n] a request's place on the logit scale."""
        own = first_uniforms(keys, REQUEST)
        spread = float(np.hypot(self.spread_request, self.spread_token))
        return np.asarray(location(self.means(arrival_s), spread) + self.spread_request * ndtri(own))


def location(mean: FloatArray, spread: float) -> FloatArray:
    """The centre of a normal whose logistic has the given mean, by quadrature and interpolation."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    centres = np.linspace(-12, 12, 1201)
    means = expit(centres[:, None] + spread * nodes) @ (weights / weights.sum())
    return np.asarray(np.interp(mean, means, centres))


class Recording:
    """Recorded sequences, replayed per request from a drawn sequence and offset.

    The true probability of a recorded token is taken as the share accepted in its confidence bin.
    """

    def __init__(self, path: Path) -> None:
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        if not rows:
            raise ValueError(f"domain.recorded: {path} is empty")
        self.top1 = np.concatenate([np.asarray(r["top1"], np.float64) for r in rows])
        self.accepted = np.concatenate([np.asarray(r["accepted"], np.bool_) for r in rows])
        bins = np.minimum((self.top1 * BINS).astype(np.int64), BINS - 1)
        hits = np.bincount(bins, self.accepted, BINS) + 0.5
        self.true = (hits / (np.bincount(bins, minlength=BINS) + 1.0))[bins]

    def draw(self, key: np.uint64, count: int) -> tuple[NDArray[np.bool_], FloatArray, FloatArray]:
        start = int(uniforms(key, REQUEST, 1)[0] * len(self.top1))
        at = (start + np.arange(count)) % len(self.top1)
        return self.accepted[at], self.true[at], self.top1[at]


def draw(domain: Domain, where: float, key: np.uint64, count: int) -> tuple[NDArray[np.bool_], FloatArray, FloatArray]:
    """Accepted, true probability and top-1 confidence of output positions 0..count-1."""
    own = where + domain.spread_token * ndtri(uniforms(key, DIFFICULTY, count))
    true = expit(own)
    accepted = uniforms(key, ACCEPT, count) < true
    c = domain.confidence
    if c == Confidence():
        return accepted, true, true
    seen = c.bias + c.scale * own
    if c.noise:
        seen = seen + c.noise * ndtri(uniforms(key, CONFIDENCE, count))
    return accepted, true, expit(seen)


def runs(accepted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[n] how many draft tokens in a row are accepted from each position on, within the sequence."""
    n = len(accepted)
    first_miss = np.where(accepted, n, np.arange(n))
    return np.asarray(np.minimum.accumulate(first_miss[::-1])[::-1] - np.arange(n))


def margin(top1: FloatArray) -> FloatArray:
    """Top-2 logit gap of a two-token distribution with this top-1 probability."""
    return np.asarray(np.minimum(np.abs(logit(np.clip(top1, 1e-9, 1 - 1e-9))), 40.0))


def entropy(top1: FloatArray) -> FloatArray:
    """Nats, of the same distribution."""
    p = np.clip(top1, 1e-9, 1 - 1e-9)
    return np.asarray(-p * np.log(p) - (1 - p) * np.log1p(-p))
