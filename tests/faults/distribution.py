"""Transitions of a Markov pair that a service samples, against the target's own table."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import numpy as np
from scipy.stats import chi2
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from tests.engine import markov
from tests.faults.identity import COMPLETIONS, Case, asked, together

TEMPERATURES = (0.7, 1.0)
LENGTH = 300
AT_ONCE = 24


@contextmanager
def markov_pair() -> Iterator[dict[str, str]]:
    """Target and draft with a tokenizer of sixteen words, which a server cannot do without."""
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(markov.TOKENS)}, unk_token="w0"))  # noqa: S106 - a word
    with tempfile.TemporaryDirectory() as folder:
        found = {name: str(Path(folder) / name) for name in ("model", "draft")}
        for path, table in zip(found.values(), markov.tables(), strict=True):
            markov.write(Path(path), table)
            PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(path)
        yield found


async def p_value(http: httpx.AsyncClient, transitions: int) -> tuple[float, int]:
    """Of one chi-square over all rows and temperatures, and how many transitions there were."""
    logits, _ = markov.tables()
    counts = {t: np.zeros((markov.TOKENS, markov.TOKENS)) for t in TEMPERATURES}
    numbers = itertools.count()

    async def one() -> None:
        i = next(numbers)
        temperature = TEMPERATURES[i // 2 % 2]
        for tokens in await sampled(http, i, temperature):
            np.add.at(counts[temperature], (tokens[:-1], tokens[1:]), 1)

    while sum(of.sum() for of in counts.values()) < transitions:
        await together(AT_ONCE, [one] * 2 * AT_ONCE)
    found = [markov.chi_square(counts[t], logits, t) for t in TEMPERATURES]
    total = int(sum(of.sum() for of in counts.values()))
    return float(chi2.sf(sum(s for s, _ in found), sum(f for _, f in found))), total


async def sampled(http: httpx.AsyncClient, i: int, temperature: float) -> list[np.ndarray]:
    """Token sequences of request `i`: prompts and lengths differ, every other one has a seed, the others n = 2."""
    prompt = [(i + j) % markov.TOKENS for j in range(1 + i % 9)]
    body = {"prompt": prompt, "temperature": temperature, "max_tokens": LENGTH - 7 * (i % 20), "ignore_eos": True}
    body |= {"return_token_ids": True} | ({"seed": i} if i % 2 else {"n": 2})
    choices = await asked(http, Case("", COMPLETIONS, body))
    return [np.array([prompt[-1], *choice["token_ids"]]) for choice in choices]
