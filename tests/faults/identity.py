"""Requests whose answers plain decoding fixes token for token, and how two answers to one of them are compared."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx

HELDOUT = Path(__file__).parents[2] / "models" / "heldout.jsonl"
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
CLOSE = 1e-3  # of log-probabilities in float32, whatever the batch
PATTERN = r"[a-z]{6} = [0-9]{4}"
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["loop", "call"]}, "lines": {"enum": [1, 2, 3]}},
    "required": ["kind", "lines"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Case:
    """A request of one kind."""

    kind: str
    path: str
    body: dict[str, Any]


@dataclass
class Compared:
    """Answers of one kind against what plain decoding wrote."""

    tried: int = 0
    different: int = 0
    said: list[str] = field(default_factory=list)

    @property
    def identical(self) -> int:
        return self.tried - self.different


def cases(model: str, prompts: int, tokens: int) -> list[Case]:
    """Of every kind `prompts` requests, of about so many tokens."""
    lines = HELDOUT.read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["prompt"] for line in lines[:: len(lines) // (prompts + 1)]]
    header = "\n".join(texts[:2])[:900]
    return [case for i, text in enumerate(texts[1 : prompts + 1]) for case in _of(model, text, header, tokens + 5 * i)]


def _of(model: str, text: str, header: str, tokens: int) -> list[Case]:
    asked = {"model": model, "max_tokens": tokens, "temperature": 0, "return_token_ids": True}
    long = asked | {"ignore_eos": True}
    chat = {"messages": [{"role": "user", "content": text}]}
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
    several = {"n": 3, "temperature": 1, "top_k": 1}  # vLLM refuses n > 1 at temperature 0; this leaves one token too
    return [
        Case("greedy", COMPLETIONS, long | {"prompt": text}),
        Case("streamed", COMPLETIONS, long | {"prompt": text, "stream": True}),
        Case("shared prefix", COMPLETIONS, long | {"prompt": f"{header}\n{text[-200:]}"}),
        Case("stop strings", COMPLETIONS, asked | {"prompt": text, "stop": ["\n\n", "return", "):"]}),
        Case("logprobs", COMPLETIONS, long | {"prompt": text, "logprobs": 5}),
        Case("chat, logprobs", CHAT, asked | chat | {"logprobs": True, "top_logprobs": 3}),
        Case("n = 3, top_k = 1", COMPLETIONS, long | several | {"prompt": text, "seed": tokens}),
        Case("json schema", CHAT, asked | chat | {"response_format": schema}),
        Case("regex", COMPLETIONS, asked | {"prompt": text, "structured_outputs": {"regex": PATTERN}}),
    ]


async def asked(http: httpx.AsyncClient, case: Case) -> list[dict[str, Any]]:
    """The answer's choices; a stream's parts are put together. Raises HTTPStatusError."""
    if not case.body.get("stream"):
        answer = (await http.post(case.path, json=case.body)).raise_for_status().json()
        return sorted(answer["choices"], key=lambda choice: int(choice["index"]))
    choice: dict[str, Any] = {"text": "", "token_ids": [], "finish_reason": None}
    async with http.stream("POST", case.path, json=case.body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                (part,) = json.loads(line.removeprefix("data: "))["choices"]
                choice["text"] += part["text"]
                choice["token_ids"] += part["token_ids"]
                choice["finish_reason"] = part["finish_reason"] or choice["finish_reason"]
    return [choice]


async def together(most: int, jobs: Iterable[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Results in the jobs' order, so many at a time."""
    slots = asyncio.Semaphore(most)

    async def one(job: Callable[[], Awaitable[Any]]) -> Any:
        async with slots:
            return await job()

    return list(await asyncio.gather(*map(one, jobs)))


async def answers(http: httpx.AsyncClient, wanted: list[Case], most: int) -> list[list[dict[str, Any]]]:
    """Of every case in its order, so many at a time."""
    return await together(most, [partial(asked, http, case) for case in wanted])


def compare(case: Case, got: list[dict[str, Any]], wanted: list[dict[str, Any]], into: Compared) -> None:
    """Tokens, text and end the same, log-probabilities close, structured text valid."""
    into.tried += 1
    why = [*(w for pair in zip(got, wanted, strict=True) for w in _differs(*pair)), *invalid(case, got)]
    if why:
        into.different += 1
        into.said.append(f"{case.kind}: {'; '.join(why)[:300]}")


def _differs(got: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    same = ("token_ids", "text", "message", "finish_reason", "stop_reason")
    found = [f"{name}: {got.get(name)} for {wanted.get(name)}" for name in same if got.get(name) != wanted.get(name)]
    if not got.get("token_ids"):
        found.append("no token ids")
    ours, theirs = (_logprobs(of) for of in (got, wanted))
    apart = [abs(ours[at] - theirs[at]) for at in ours.keys() & theirs.keys()]  # the last ranks may be almost equal
    if len(ours) != len(theirs) or len(apart) < 0.8 * len(ours) or max(apart, default=0) > CLOSE:
        found.append(f"logprobs: {len(apart)} of {len(theirs)} in common, {max(apart, default=0):.2g} apart")
    return found


def _logprobs(choice: Mapping[str, Any]) -> dict[tuple[int, str], float]:
    """By position and token: every value the answer gives."""
    given = choice.get("logprobs") or {}
    tops = given.get("top_logprobs") or [
        {of["token"]: of["logprob"] for of in [at, *at["top_logprobs"]]} for at in given.get("content") or []
    ]
    return {(i, token): value for i, top in enumerate(tops) for token, value in top.items()}


def invalid(case: Case, got: list[dict[str, Any]]) -> list[str]:
    """What a grammar should have kept out. An answer cut by max_tokens is not judged."""
    ended = [choice for choice in got if choice["finish_reason"] == "stop"]
    if case.kind == "regex":
        return [f"not in the pattern: {of['text']!r}" for of in ended if not re.fullmatch(PATTERN, of["text"])]
    if case.kind == "json schema":
        texts = [of["message"]["content"] for of in ended]
        return [f"not in the schema: {text!r}" for text in texts if not _in_schema(text)]
    return []


def _in_schema(text: str) -> bool:
    try:
        said = json.loads(text)
    except ValueError:
        return False
    return said.keys() == {"kind", "lines"} and said["kind"] in ("loop", "call") and said["lines"] in (1, 2, 3)


def ends(answers: list[list[dict[str, Any]]]) -> Counter[str]:
    """How the choices ended."""
    return Counter(choice["finish_reason"] for choices in answers for choice in choices)
