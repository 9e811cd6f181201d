"""The HTTP side of the fake engine: OpenAI's shapes as plain dicts, and the commands tests hold it by."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from deployments.errors import ApiError

if TYPE_CHECKING:
    from deployments.fake_backend import FakeBackend


@dataclass(slots=True)
class Tally:
    """One request's times and drafts, as vLLM's own per-request metrics give them."""

    arrived_s: float
    first_s: float | None = None
    last_s: float = 0.0
    tokens: int = 0
    drafted: int = 0
    accepted: int = 0

    def came(self) -> None:
        self.last_s = _now_s()
        self.first_s = self.last_s if self.first_s is None else self.first_s
        self.tokens += 1

    def metrics(self) -> dict[str, Any]:
        if self.first_s is None:
            return {}
        gaps = self.tokens - 1
        return {
            "time_to_first_token_ms": 1e3 * (self.first_s - self.arrived_s),
            "mean_itl_ms": 1e3 * (self.last_s - self.first_s) / gaps if gaps else None,
            "speculative_decoding": {
                "num_draft_tokens": self.drafted,
                "num_accepted_draft_tokens": self.accepted,
            },
        }


def _now_s() -> float:
    return asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class FakeRequest:
    """The part of an OpenAI request the fake honours."""

    chat: bool
    prompt: str
    limit: int
    choices: int
    seed: int
    stop: tuple[str, ...]
    stream: bool
    usage: bool
    id: str
    hold_at: int | None
    until: Path | None
    extra_args: dict[str, Any]
    priority: int
    tally: Tally

    @classmethod
    def of(cls, body: dict[str, Any], headers: Any, *, chat: bool) -> FakeRequest:
        stop, held = body.get("stop") or (), body.get("fake") or {}
        return cls(
            chat=chat,
            prompt=json.dumps(body.get("messages") if chat else body.get("prompt")),
            limit=body.get("max_completion_tokens") or body.get("max_tokens") or 16,
            choices=body.get("n") or 1,
            seed=body.get("seed") or 0,
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            stream=bool(body.get("stream")),
            usage=bool((body.get("stream_options") or {}).get("include_usage")),
            id=headers.get("x-request-id", "fake"),
            hold_at=held.get("hold_at"),
            until=Path(held["until"]) if held else None,
            extra_args=body.get("vllm_xargs") or {},
            priority=body.get("priority") or 0,
            tally=Tally(_now_s()),
        )


def routes(fake: FakeBackend) -> list[BaseRoute]:
    """OpenAI's routes, /metrics and the commands."""

    async def completions(request: Request) -> Response:
        return await _serve(fake, request, chat=False)

    async def chat(request: Request) -> Response:
        return await _serve(fake, request, chat=True)

    async def models(_: Request) -> Response:
        card = {"id": fake.engine.served_model_name, "object": "model", "created": 0, "owned_by": "adaspec"}
        return JSONResponse({"object": "list", "data": [card | {"max_model_len": fake.engine.max_model_len}]})

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(_exposition(fake))

    return [
        Route("/v1/completions", completions, methods=["POST"]),
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/models", models),
        Route("/metrics", metrics),
    ]


def _exposition(fake: FakeBackend) -> str:
    """Two of vLLM's own names, and the fake's counters."""
    label = f'{{model_name="{fake.engine.served_model_name}"}}'
    figures = [
        ("vllm:num_requests_running", "gauge", "running"),
        ("vllm:generation_tokens_total", "counter", "tokens"),
        ("fake_held", "gauge", "held"),
        ("fake_cancelled_total", "counter", "cancelled"),
    ]
    return "".join(f"# TYPE {name} {kind}\n{name}{label} {fake.counters[of]}\n" for name, kind, of in figures)


async def _serve(fake: FakeBackend, http: Request, *, chat: bool) -> Response:
    body = await http.json()
    request = FakeRequest.of(body, http.headers, chat=chat)
    if body.get("model") not in (None, fake.engine.served_model_name):
        return ApiError(404, f"The model `{body['model']}` does not exist.").response()
    if request.limit > fake.engine.max_model_len:
        return ApiError(400, f"max_tokens is above {fake.engine.max_model_len}", param="max_tokens").response()
    if request.stream:
        return StreamingResponse(_events(fake, request), media_type="text/event-stream")
    return JSONResponse(await _complete(fake, request))


async def _complete(fake: FakeBackend, request: FakeRequest) -> dict[str, Any]:
    choices = []
    for choice in range(request.choices):
        words = [word async for word in fake.tokens(request, choice)]
        kept, stopped = _until_stop(words, request.stop)
        choices.append(_choice(request, choice, "".join(kept), "stop" if stopped else "length", whole=True))
    return _body(fake, request, choices) | {"usage": _usage(request)} | _metrics(request)


async def _events(fake: FakeBackend, request: FakeRequest) -> AsyncIterator[str]:
    for choice in range(request.choices):
        left = request.limit
        async for word in fake.tokens(request, choice):
            left -= 1
            stopped = word.strip() in request.stop
            reason = "stop" if stopped else None if left else "length"
            yield _event(_body(fake, request, [_choice(request, choice, "" if stopped else word, reason)]))
            if stopped:
                break
    if request.usage:
        yield _event(_body(fake, request, []) | {"usage": _usage(request)} | _metrics(request))
    yield "data: [DONE]\n\n"


def _until_stop(words: list[str], stop: tuple[str, ...]) -> tuple[list[str], bool]:
    at = next((i for i, word in enumerate(words) if word.strip() in stop), None)
    return words[:at], at is not None


def _choice(request: FakeRequest, index: int, text: str, reason: str | None, *, whole: bool = False) -> dict[str, Any]:
    said: dict[str, Any] = {"text": text}
    if request.chat:
        said = {"message" if whole else "delta": {"role": "assistant", "content": text}}
    return {"index": index, "logprobs": None, "finish_reason": reason, **said}


def _body(fake: FakeBackend, request: FakeRequest, choices: list[dict[str, Any]]) -> dict[str, Any]:
    kind = "chat.completion" if request.chat else "text_completion"
    return {
        "id": request.id,
        "object": f"{kind}.chunk" if request.chat and request.stream else kind,
        "created": 0,
        "model": fake.engine.served_model_name,
        "system_fingerprint": fake.fingerprint(),
        "choices": choices,
    }


def _usage(request: FakeRequest) -> dict[str, int]:
    made = request.limit * request.choices
    given = len(request.prompt.split())
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def _metrics(request: FakeRequest) -> dict[str, Any]:
    """Of one sequence only, as in vLLM."""
    return {"metrics": request.tally.metrics()} if request.choices == 1 else {}


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"
