"""Which shapes are measured, and which again: pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deployments.profile.shapes import Shape

SHORT_TOKENS = 96
PROMPT_TOKENS = 64  # of a prompt that joins while others decode
BLOCK_STEPS = 3  # a length is held so long, after as many steps without drafts: its first also pays for the switch
VISITS = 3  # of every batch, apart in time: a neighbour's busy minute must not look like a batch's cost


@dataclass(frozen=True, slots=True)
class Limits:
    """What the engine can hold."""

    k_max: int
    max_batch: int
    max_model_len: int  # tokens
    kv_tokens: int


@dataclass(frozen=True, slots=True)
class Run:
    """Requests decoded together for some steps, K going through `lengths`."""

    batch: int
    context_tokens: int  # of each request's prompt
    lengths: tuple[int, ...]
    steps: int
    join_every: int = 0  # steps between prompts that join; 0: none
    temperature: float = 0.0

    @property
    def held_out(self) -> bool:
        return held_out(self.batch)


def held_out(batch: int) -> bool:
    """Shapes of these batches are never fitted: they test whether the model holds between the sizes it saw."""
    return batch & (batch - 1) != 0


def batches(most: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, ... up to `most`."""
    sizes = {2**i for i in range(most.bit_length())} | {3 * 2**i for i in range(most.bit_length())}
    return sorted(size for size in sizes | {most} if size <= most)


def first_runs(limits: Limits, seed: int) -> list[Run]:
    """Every batch at a short context, several times; a few also at a long one, with prompts joining, and sampled."""
    rng = np.random.default_rng(seed)
    sizes = batches(min(limits.max_batch, max(limits.kv_tokens // (SHORT_TOKENS + _grown(limits)), 1)))
    middle = sizes[len(sizes) // 2]
    some = sorted({sizes[0], middle, sizes[-1]})
    once = [_run(limits, rng, size, context_tokens=long) for size in some if (long := long_context(limits, size))]
    once += [_run(limits, rng, size, join_every=3) for size in sorted({2, 6, middle}) if size < sizes[-1]]
    once += [_run(limits, rng, middle, temperature=1.0)]
    runs: list[Run] = []
    for extra in (once, *[[]] * (VISITS - 1)):
        visit = [*(_run(limits, rng, size) for size in sizes), *extra]
        runs += [visit[i] for i in rng.permutation(len(visit))]
    return runs


def long_context(limits: Limits, batch: int) -> int:
    """Tokens a prompt may have at most, leaving room to decode; 0 where that is no more than a short one."""
    most = min(limits.max_model_len, int(0.9 * limits.kv_tokens / batch)) - _grown(limits)
    most = min(most, 8192 // batch + SHORT_TOKENS)  # a long prompt is dear to compute and says no more
    return most if most >= 2 * SHORT_TOKENS else 0


def _grown(limits: Limits) -> int:
    """Most tokens a request gains in a run."""
    return 2 * BLOCK_STEPS * len(_blocks(limits.k_max)) * (limits.k_max + 1)


def again(limits: Limits, shapes: list[Shape], seed: int) -> Run:
    """The batch whose times are least certain, relative to what they are."""
    return _run(limits, np.random.default_rng(seed), least_certain(shapes))


def least_certain(shapes: list[Shape]) -> int:
    """The batch with the largest relative standard error of a median, averaged over its lengths."""
    errors: dict[int, list[float]] = {}
    for shape in shapes:
        if not shape.prefill_tokens:
            errors.setdefault(shape.batch, []).append(shape.relative_error)
    return max(errors, key=lambda batch: float(np.mean(errors[batch])))


def _run(
    limits: Limits,
    rng: np.random.Generator,
    batch: int,
    *,
    context_tokens: int = SHORT_TOKENS,
    join_every: int = 0,
    temperature: float = 0.0,
) -> Run:
    lengths = tuple(int(k) for block in rng.permutation(_blocks(limits.k_max)) for k in block)
    return Run(batch, context_tokens, lengths, len(lengths), join_every, temperature)


def _blocks(k_max: int) -> list[list[int]]:
    """[lengths, 2 * BLOCK_STEPS]: every length measured comes after steps without drafts."""
    ks = sorted({k for k in (1, 2, 3, k_max) if k <= k_max})
    return [[0] * BLOCK_STEPS + [k] * BLOCK_STEPS for k in ks]
