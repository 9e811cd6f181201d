"""What a policy may see of a draft distribution, computed where the logits are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

import numpy as np
import torch

from policies.api import Feature, FloatArray

FAR = 1e3
"""An entropy no vocabulary has, and the margin of a token without a rival."""


def before_sampling(logits: torch.Tensor, needs: frozenset[Feature]) -> dict[Feature, torch.Tensor]:
    """Features [rows] of draft logits [rows, vocabulary] that do not depend on the token drawn."""
    found: dict[Feature, torch.Tensor] = {}
    if not needs & {"top1", "margin", "entropy"}:
        return found  # no copy of half-precision logits for nothing
    logits = logits.float()
    if "top1" in needs:
        found["top1"] = logits.softmax(dim=-1).amax(dim=-1)
    if "margin" in needs:
        best = logits.topk(2, dim=-1).values
        found["margin"] = best[:, 0] - best[:, 1]
    if "entropy" in needs:
        found["entropy"] = torch.special.entr(logits.softmax(dim=-1)).sum(dim=-1)  # 0 for a token that cannot come
    return found


def of_sampled(logits: torch.Tensor, tokens: torch.Tensor, probs: torch.Tensor | None) -> torch.Tensor:
    """q(drawn token) [rows], from the probabilities drawn from or, for argmax drafts, the logits' own."""
    if probs is None:
        logits = logits.float()
        return (logits.gather(1, tokens.long()[:, None])[:, 0] - logits.logsumexp(dim=-1)).exp()
    return probs.gather(1, tokens.long()[:, None])[:, 0]


def slot_to_host(seen: Mapping[Feature, torch.Tensor], rows: np.ndarray) -> dict[Feature, FloatArray]:
    """[B] arrays of one slot, a copy each, read-only: the plan's cut is applied to them after the policy saw them.

    By way of a list: for a batch's few numbers each call of torch's and numpy's costs more than they do.
    """
    host = {}
    for name, values in seen.items():
        numbers = values.tolist()
        found = np.array(numbers, np.float64)
        found = found if isfinite(sum(numbers)) else _finite(name, found)
        found = found if len(found) == len(rows) else found[rows]
        found.flags.writeable = False
        host[name] = found
    return host


def joined(slots: Sequence[Mapping[Feature, FloatArray]]) -> dict[Feature, FloatArray]:
    """[B, K] arrays from the slots' own on the host; the same names in all."""
    return {name: np.stack([slot[name] for slot in slots], axis=1) for name in slots[0]}


def to_host(slots: Iterable[Mapping[Feature, torch.Tensor]], rows: np.ndarray) -> dict[Feature, FloatArray]:
    """[B, K] arrays from one mapping a slot: a single copy from the device."""
    slots = list(slots)
    names = list(slots[0]) if slots else []
    if not names:
        return {}
    stacked = torch.stack([torch.stack([slot[n].float() for n in names]) for slot in slots], dim=-1)
    table = stacked.cpu().numpy().astype(np.float64)
    return {name: _finite(name, table[i])[rows] for i, name in enumerate(names)}


def _finite(name: Feature, values: FloatArray) -> FloatArray:
    """What is no number as the least sure: a draft whose logits overflowed must not reach what models learn from."""
    least, most = (FAR, FAR) if name == "entropy" else (0.0, FAR if name == "margin" else 0.0)
    return np.nan_to_num(values, copy=False, nan=least, posinf=most, neginf=least)
