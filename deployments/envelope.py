"""What the ingress must know of a request's body; vLLM's own classes check the rest in the replica."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic import BaseModel, Field, ValidationError

from deployments.errors import ApiError
from deployments.settings import IngressConfig


class StreamOptions(BaseModel):
    """Of them, what matters here."""

    include_usage: bool | None = False


class Envelope(BaseModel):
    """The checked part."""

    model: str | None = None
    stream: bool | None = False
    n: int | None = Field(default=1, ge=1)
    stream_options: StreamOptions | None = None
    vllm_xargs: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body, read and checked."""

    data: dict[str, Any]
    stream: bool
    usage_wanted: bool
    n: int

    @property
    def prompt(self) -> str:
        """The prompt as one text: what a prefix cache would compare."""
        given = self.data.get("prompt", self.data.get("messages"))
        return given if isinstance(given, str) else json.dumps(given)

    @property
    def sequences(self) -> int:
        """Seats it takes."""
        given = self.data.get("prompt")
        several = isinstance(given, list) and given and not isinstance(given[0], int)
        return self.n * (len(given) if several and given else 1)

    def tokens(self, characters_per_token: float) -> float:
        """Prompt tokens, estimated."""
        given = self.data.get("prompt")
        if isinstance(given, list) and given and isinstance(given[0], int):
            return len(given)
        return len(self.prompt) / characters_per_token


async def read(request: Request, config: IngressConfig) -> Body:
    """Raises ApiError: 413 as soon as it is too large, 415 for anything but JSON, 400 for what is wrong in it."""
    raw = await _bytes(request, config.max_body_bytes)
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"body: not JSON: {error}") from error
    envelope = _envelope(data, config)
    usage = envelope.stream_options is not None and bool(envelope.stream_options.include_usage)
    return Body(data, bool(envelope.stream), usage, envelope.n or 1)


async def _bytes(request: Request, most: int) -> bytes:
    if not request.headers.get("content-type", "").lower().startswith("application/json"):
        raise ApiError(415, "content-type must be application/json")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise ApiError(413, f"the body is larger than {most} bytes")
    return bytes(body)


def _envelope(data: Any, config: IngressConfig) -> Envelope:
    try:
        envelope = Envelope.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        param = ".".join(str(part) for part in first["loc"]) or None
        raise ApiError(400, f"{param or 'body'}: {first['msg']}", param=param) from error
    if envelope.n and envelope.n > config.max_choices:
        raise ApiError(400, f"n: {envelope.n} is above this server's limit of {config.max_choices}", param="n")
    return envelope
