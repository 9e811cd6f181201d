"""What is asked for, when, and whether each answer is what it must be."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clients import Draw, Request

HELDOUT = Path(__file__).parents[2] / "models" / "heldout.jsonl"
REFERENCES = 40
MODEL = "demo"
GREEDY, LEAVING = 0.4, 0.08
"""Shares of the requests whose text is known beforehand, and whose client goes away."""
LEAVES_AFTER = 3  # parts of a stream
MOST_SHOWN = 20


@dataclass
class Mix:
    """Requests, drawn one after the other; `known` holds what plain decoding writes, by prompt."""

    rng: np.random.Generator
    prompts: list[str]
    known: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, seed: int) -> Mix:
        rows = [json.loads(line) for line in HELDOUT.read_text(encoding="utf-8").splitlines()]
        return cls(np.random.default_rng(seed), [str(row["prompt"])[-600:] for row in rows])

    def references(self) -> list[dict[str, Any]]:
        """Bodies whose answers are to be known."""
        step = len(self.prompts) // REFERENCES
        return [_body(p, _tokens_of(p), stream=False) for p in self.prompts[::step][:REFERENCES]]

    def learn(self, answers: list[Request]) -> None:
        """Answers to `references`. Raises RuntimeError if one is missing: nothing could be compared with it."""
        if bad := [a for a in answers if a.outcome != "served"]:
            raise RuntimeError(f"{len(bad)} references were not served: {bad[0].outcome} {bad[0].failure}")
        self.known = {a.body["prompt"]: a.text for a in answers}

    def draw(self) -> Draw:
        """A body, and after how many parts its client leaves."""
        stream, kind = bool(self.rng.random() < 0.7), self.rng.random()
        if self.known and kind < GREEDY:
            prompt = list(self.known)[self.rng.integers(len(self.known))]
            return _body(prompt, _tokens_of(prompt), stream=stream), None
        tokens = int(np.clip(self.rng.lognormal(4.0, 0.7), 8, 250))
        prompt = self.prompts[self.rng.integers(len(self.prompts))]
        sampled = {"temperature": 0.8, "seed": int(self.rng.integers(1 << 31))}
        leaves = bool(kind > 1 - LEAVING)
        body = _body(prompt, tokens, stream=stream or leaves) | sampled
        return body, LEAVES_AFTER if leaves else None


@dataclass
class Tally:
    """What came of all requests so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    compared: int = 0
    differing: list[dict[str, Any]] = field(default_factory=list)
    short: int = 0
    wrong: list[str] = field(default_factory=list)

    def take(self, ended: list[Request], known: dict[str, str], policy: str) -> None:
        """Those that ended lately, under `policy`."""
        for request in ended:
            self.outcomes[request.outcome] += 1
            self.statuses[request.status] += 1
            if request.outcome in ("hung", "lost", "closed", "error event") and len(self.wrong) < MOST_SHOWN:
                self.wrong.append(f"{request.outcome} {request.status} {request.failure} {request.text[:80]!r}")
            if request.outcome == "served":
                self.short += request.tokens != request.body["max_tokens"]
                self._compare(request, known, policy)

    def _compare(self, request: Request, known: dict[str, str], policy: str) -> None:
        if request.body["temperature"] or request.body["prompt"] not in known:
            return
        self.compared += 1
        wanted = known[request.body["prompt"]]
        if request.text != wanted:
            pairs = zip(request.text, wanted, strict=False)
            at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(request.text), len(wanted)))
            said = {"policy": policy, "stream": request.body["stream"], "at_character": at}
            self.differing.append(said | {"wanted": wanted[at:][:40], "got": request.text[at:][:40]})


def _body(prompt: str, tokens: int, *, stream: bool) -> dict[str, Any]:
    body = {"model": MODEL, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    return body | ({"stream": True, "stream_options": {"include_usage": True}} if stream else {"stream": False})


def _tokens_of(prompt: str) -> int:
    return 24 + len(prompt) % 97
