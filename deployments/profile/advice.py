"""What the fitted model says to do: where speculation breaks even, the best static length, a policy to paste."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml
from scipy.optimize import brentq

from policies.api import FloatArray
from policies.models import CostModel, StepLoad

CERTAIN = 1 - 1e-9


def by_batch(
    cost: CostModel, acceptance: Sequence[float], context_tokens: int, batches: list[int]
) -> list[dict[str, Any]]:
    """For each batch: the best static K, what it gains over no speculation, and the acceptance that breaks even.

    `acceptance` [k_max] by draft position; `context_tokens` of each request.
    """
    return [_row(cost, acceptance, batch, StepLoad(batch, batch * context_tokens)) for batch in batches]


def expected_tokens(acceptance: Sequence[float]) -> FloatArray:
    """[k_max + 1] tokens per request and step at K = 0, 1, ...: one, and every prefix that is accepted."""
    return 1 + np.concatenate(([0.0], np.cumsum(np.cumprod(acceptance))))


def policy_block(rows: list[dict[str, Any]], profile: str) -> str:
    """YAML: the adaptive default with this profile, and the static table that comes closest to it."""
    adaptive = {"policy": {"name": "slo_goodput", "params": {}}}
    table = {"policy": {"name": "schedule", "params": {"up_to": _table(rows)}}}
    return (
        f"# under applications[0].args.engine:\n{yaml.safe_dump({'profile': profile})}\n"
        f"# under the Replica's user_config:\n{yaml.safe_dump(adaptive, sort_keys=False)}\n"
        f"# or, without adaptation, the best static length by batch:\n{yaml.safe_dump(table, sort_keys=False)}"
    )


def _row(cost: CostModel, acceptance: Sequence[float], batch: int, load: StepLoad) -> dict[str, Any]:
    k = np.arange(len(acceptance) + 1)
    step_s = cost.step_s(load, k, k * batch)
    rate = batch * expected_tokens(acceptance) / step_s
    best = int(rate.argmax())
    return {
        "batch": batch,
        "best_k": best,
        "gain": float(rate[best] / rate[0] - 1),
        "tokens_per_s": float(rate[best]),
        "plain_tokens_per_s": float(rate[0]),
        "break_even_acceptance": _break_even(step_s),
        "step_ms": [round(1e3 * float(s), 3) for s in step_s],
    }


def _break_even(step_s: FloatArray) -> float | None:
    """The acceptance at which the best K > 0 equals no speculation; None where not even certain drafts pay."""

    def gain(alpha: float) -> float:
        tokens = expected_tokens([alpha] * (len(step_s) - 1))
        return float((tokens[1:] / step_s[1:]).max() * step_s[0] - 1)

    if gain(CERTAIN) < 0:
        return None
    return 0.0 if gain(0.0) >= 0 else float(brentq(gain, 0.0, CERTAIN))


def _table(rows: list[dict[str, Any]]) -> dict[int, int]:
    """`schedule`'s `up_to`: the highest batch of each K, in rising order."""
    table: dict[int, int] = {}
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        if following is None or following["best_k"] != row["best_k"]:
            table[row["batch"]] = row["best_k"]
    return table
