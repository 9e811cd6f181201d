"""Steps of one shape, and what such a step takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from deployments.profile.probe import COLUMNS
from policies.api import FloatArray

QUANTILE = 0.25  # of a shape's steps: whatever else the machine does only ever adds to a step
LEAST_STEPS = 3  # fewer say little of it
MAD_TO_DEVIATION = 1.4826


@dataclass(frozen=True, slots=True)
class Shape:
    """Means of what the steps did, lower quartiles of what they took."""

    batch: int
    k: int
    steps: int
    verified_tokens: float
    context_tokens: float
    prefill_tokens: float
    catch_up_tokens: float
    draft_s: float
    verify_s: float
    step_s: float
    relative_error: float  # standard error of the step time / the step time

    @property
    def pass_tokens(self) -> float:
        """Tokens in the target's pass."""
        return self.batch + self.verified_tokens + self.prefill_tokens

    @property
    def alike(self) -> tuple[int, int, int]:
        """The same for shapes whose times can be compared: batch, K, size of context."""
        return self.batch, self.k, _octave(self.context_tokens) // 2


def shapes_of(rows: Iterable[Iterable[float]]) -> list[Shape]:
    """Steps as `probe.COLUMNS` grouped by batch, K, and sizes of context, prompt and catch-up."""
    table = np.array([list(row) for row in rows], np.float64).reshape(-1, len(COLUMNS))
    groups: dict[tuple[int, ...], list[FloatArray]] = defaultdict(list)
    for row in table:
        groups[_key(dict(zip(COLUMNS, row.tolist(), strict=True)))].append(row)
    return [_shape(np.array(found)) for _, found in sorted(groups.items()) if len(found) >= LEAST_STEPS]


def _key(row: dict[str, float]) -> tuple[int, ...]:
    octaves = (_octave(row[name]) for name in ("prefill_tokens", "catch_up_tokens", "verified_tokens"))
    return int(row["batch"]), int(row["k"]), _octave(row["context_tokens"]) // 2, *octaves


def _octave(count: float) -> int:
    return int(count).bit_length()


def _shape(rows: FloatArray) -> Shape:
    column = dict(zip(COLUMNS, _without_waits(rows).T, strict=True))
    mean = {name: float(values.mean()) for name, values in column.items()}
    time_s = {name: float(np.quantile(column[name], QUANTILE)) for name in ("draft_s", "verify_s", "step_s")}
    spread = MAD_TO_DEVIATION * float(np.median(np.abs(column["step_s"] - np.median(column["step_s"]))))
    return Shape(
        batch=int(mean["batch"]),
        k=int(mean["k"]),
        steps=len(rows),
        verified_tokens=mean["verified_tokens"],
        context_tokens=mean["context_tokens"],
        prefill_tokens=mean["prefill_tokens"],
        catch_up_tokens=mean["catch_up_tokens"],
        **time_s,
        relative_error=1.25 * spread / time_s["step_s"] / len(rows) ** 0.5,
    )


def _without_waits(rows: FloatArray) -> FloatArray:
    """The steps less what their worker waited for a core: that is the neighbours' cost."""
    draft_waited, waited = (rows[:, COLUMNS.index(name)] for name in ("draft_waited_s", "waited_s"))
    own = rows.copy()
    own[:, COLUMNS.index("draft_s")] -= draft_waited
    own[:, COLUMNS.index("verify_s")] -= waited - draft_waited
    own[:, COLUMNS.index("step_s")] -= waited
    return own


def disturbed_share(rows: Iterable[Iterable[float]]) -> float:
    """Of all measured time, the share in which the worker waited for a core."""
    table = np.array([list(row) for row in rows], np.float64).reshape(-1, len(COLUMNS))
    return float(table[:, COLUMNS.index("waited_s")].sum() / table[:, COLUMNS.index("step_s")].sum())
