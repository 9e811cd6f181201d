"""Who may ask for what: bearer tokens, and the operator's routes apart from the API's. Checked before anything else."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.errors import ApiError
from deployments.problems import Problem
from deployments.settings import Access, IngressConfig

PUBLIC = frozenset({"/health", "/health/live", "/version", "/openapi.json"})
OPERATORS = frozenset({"/v1/policy", "/v1/replicas", "/v1/slo", "/metrics", "/dashboard"})
SHORTEST = 16
"""Characters of a token; shorter ones can be guessed."""

Keys = tuple[bytes, ...]
"""Digests of the tokens: all of one length, so that comparing them tells nothing of the tokens' lengths."""


def keys(access: Access, environ: Mapping[str, str]) -> Keys | Problem:
    """What the config points to. A source that is missing or empty is a problem: it must not open the server."""
    found: list[str] = []
    if (name := access.tokens_env) is not None:
        if not environ.get(name, "").split():
            return Problem(field="access.tokens_env", value=name, fix="set this variable where the ingress runs")
        found += environ[name].split()
    if (file := access.tokens_file) is not None:
        try:
            lines = Path(file).read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            return Problem(field="access.tokens_file", value=file, fix=f"cannot be read: {why}")
        if not lines:
            return Problem(field="access.tokens_file", value=file, fix="the file is empty; write one token a line")
        found += lines
    if any(len(token) < SHORTEST for token in found):
        return Problem(field="access", value="(a token)", fix=f"give every token at least {SHORTEST} characters")
    return tuple(map(_digest, found))


class Gate:
    """Asks `refusal` about every request before the application sees it."""

    def __init__(self, app: ASGIApp, refusal: Callable[[str, Headers], ApiError | None]) -> None:
        self._app, self._refusal = app, refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            refused = self._refusal(path, Headers(scope=scope))
            if refused is not None:
                await refused.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


def refusal(path: str, headers: Headers, config: IngressConfig, allowed: Keys) -> ApiError | None:
    """Why it may not pass: 431 for huge headers, 404 for a closed route or an odd path, 401 without a token."""
    size = sum(len(name) + len(value) for name, value in headers.raw)
    if size > config.max_header_bytes:
        return ApiError(431, f"the headers are larger than {config.max_header_bytes} bytes")
    if not path.isprintable():  # a route's pattern ends before a newline too: /metrics%0A would not be /metrics here
        return ApiError(404, "Not Found")
    operators = path in OPERATORS or path.startswith("/dashboard/")
    if operators and config.access.admin == "closed":
        return ApiError(404, "Not Found")
    if not allowed or path in PUBLIC or (operators and config.access.admin == "open"):
        return None
    if _known(headers.get("authorization", ""), allowed):
        return None
    return ApiError(401, "a valid token is needed: Authorization: Bearer TOKEN", headers={"www-authenticate": "Bearer"})


def _known(authorization: str, allowed: Keys) -> bool:
    """Compares with every key in constant time, whichever matches."""
    scheme, _, token = authorization.partition(" ")
    given = _digest(token.strip())
    matches = [hmac.compare_digest(given, key) for key in allowed]
    return scheme.lower() == "bearer" and any(matches)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
