"""The HTTP side of the fake engine: OpenAI's shapes as plain dicts, and the commands tests hold it by."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError
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


class Hold(BaseModel):
    """The command of a test."""

    hold_at: int
    until: Path


class Options(BaseModel):
    """vLLM's `stream_options`, the part that is honoured."""

    include_usage: bool = False


class Given(BaseModel):
    """A body as vLLM would have it, so far as it is honoured; anything else in it is left alone."""

    model: str | None = None
    prompt: str | list[int] | list[list[int]] | list[str] | None = None
    messages: list[dict[str, Any]] | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: int | None = Field(default=None, ge=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: Options | None = None
    logprobs: bool | int | None = Field(default=None, le=20)
    top_logprobs: int | None = Field(default=None, le=20)
    vllm_xargs: dict[str, str | int | float | list[str | int | float]] | None = None
    priority: int = 0
    fake: Hold | None = None

    @classmethod
    def read(cls, raw: bytes, *, chat: bool) -> Given:
        """Raises ApiError: 400 naming the field, as vLLM does."""
        try:
            given = cls.model_validate(json.loads(raw))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ApiError(400, f"{first['loc']}: {first['msg']}") from error
        if chat and not given.messages:
            raise ApiError(400, "messages: at least one is needed", param="messages")
        if not chat and given.prompt in (None, "", []):
            raise ApiError(400, "prompt: it must not be empty", param="prompt")
        return given


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
    def of(cls, given: Given, id_: str, *, chat: bool) -> FakeRequest:
        stop, held = given.stop or (), given.fake
        return cls(
            chat=chat,
            prompt=json.dumps(given.messages if chat else given.prompt),
            limit=given.max_completion_tokens or given.max_tokens or 16,
            choices=given.n or 1,
            seed=given.seed or 0,
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            stream=bool(given.stream),
            usage=given.stream_options is not None and given.stream_options.include_usage,
            id=id_,
            hold_at=held.hold_at if held else None,
            until=held.until if held else None,
            extra_args=given.vllm_xargs or {},
            priority=given.priority,
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
    try:
        given = Given.read(await http.body(), chat=chat)
    except ApiError as error:
        return error.response()
    request = FakeRequest.of(given, http.headers.get("x-request-id", "fake"), chat=chat)
    if given.model not in (None, fake.engine.served_model_name):
        return ApiError(404, f"The model `{given.model}` does not exist.").response()
    if len(request.prompt.split()) + request.limit > fake.engine.max_model_len:
        text = f"prompt and max_tokens are above {fake.engine.max_model_len}"
        return ApiError(400, text, param="max_tokens").response()
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
