"""What the ingress must know of a request's body; vLLM's own classes check the rest in the replica."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic import BaseModel, Field, StrictBool, ValidationError
from starlette.requests import ClientDisconnect

from deployments.errors import ApiError
from deployments.settings import IngressConfig

LONG = re.compile(rb"\d{19}")  # in a number or a text: only then is each number looked at


class StreamOptions(BaseModel):
    """Of them, what matters here."""

    include_usage: bool | None = False


class Envelope(BaseModel):
    """The checked part."""

    model: str | None = None
    stream: StrictBool | None = False
    n: int | None = Field(default=1, ge=1)
    stop: str | list[str] | None = None
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
    """A request's body.

    Raises:
        ApiError: 413 as soon as it is too large, 408 where it does not come to its end, 415 for anything but JSON,
            400 for what is wrong in it.
    """
    raw = await _in_time(request, config)
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"body: not JSON: {error}") from error
    if raw.count(b"[") + raw.count(b"{") > config.max_depth and _deeper(data, config.max_depth):
        raise ApiError(400, f"body: nested deeper than {config.max_depth}")
    envelope = _envelope(data, config)
    if LONG.search(raw):
        _check_numbers(raw)
    usage = envelope.stream_options is not None and bool(envelope.stream_options.include_usage)
    body = Body(data, bool(envelope.stream), usage, envelope.n or 1)
    if body.sequences > config.max_sequences:
        raise ApiError(400, f"prompt: {body.sequences} sequences are above the limit of {config.max_sequences}")
    return body


def written(body: Mapping[str, Any]) -> bytes:
    """As JSON that every parser takes.

    Raises:
        ApiError: 400 for NaN, infinite numbers and halves of surrogate pairs, which Python reads and others do not.
    """
    try:
        return json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        raise ApiError(400, f"body: not JSON: {_reason(error)}") from error


def _reason(error: ValueError) -> str:
    """Without the text itself, which a UnicodeEncodeError carries."""
    return "text that is no Unicode" if isinstance(error, UnicodeError) else "a number that is not finite"


def _check_numbers(raw: bytes) -> None:
    try:
        json.loads(raw, parse_int=_whole)
    except ValueError as error:
        raise ApiError(400, f"body: {error}") from error


def _whole(digits: str) -> int:
    """Engines pass whole numbers between processes in 64 bits; vLLM fails on larger ones after it took them."""
    number = int(digits)
    if not -(1 << 63) <= number < 1 << 64:
        raise ValueError("a whole number of more than 64 bits")
    return number


def _deeper(value: Any, most: int) -> bool:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return most == 0 or any(_deeper(of, most - 1) for of in inner if isinstance(of, dict | list))
    return False


async def _in_time(request: Request, config: IngressConfig) -> bytes:
    try:
        async with asyncio.timeout(config.body_timeout_s):
            return await _bytes(request, config.max_body_bytes)
    except TimeoutError as error:
        raise ApiError(408, f"the body was not complete within {config.body_timeout_s:g} s") from error
    except ClientDisconnect as error:
        raise ApiError(400, "the client left before its request was complete") from error


async def _bytes(request: Request, most: int) -> bytes:
    if request.headers.get("content-type", "").lower().split(";")[0].strip() != "application/json":
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
    if isinstance(envelope.stop, list) and len(envelope.stop) > config.max_stops:
        raise ApiError(
            400, f"stop: {len(envelope.stop)} strings are above the limit of {config.max_stops}", param="stop"
        )
    return envelope
