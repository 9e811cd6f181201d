"""OpenAI-shaped errors: {"error": {"message", "type", "param", "code"}}, with the status as `code` as in vLLM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    408: "RequestTimeoutError",
    413: "RequestTooLargeError",
    415: "UnsupportedMediaTypeError",
    429: "RateLimitError",
    431: "HeadersTooLargeError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
}


class NoReplicaError(Exception):
    """No replica is running: nothing can serve until Serve has started one."""


class ApiError(Exception):
    """An answer other than 200. `retry_after_s` becomes the Retry-After header."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self._headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        kind = TYPES.get(self.status, "APIError")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.status}}

    def response(self) -> Response:
        """In ASCII: a message may quote text that has no UTF-8."""
        retry = {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}
        headers = self._headers | retry
        return Response(json.dumps(self.body()), self.status, headers, media_type="application/json")

    def event(self) -> bytes:
        """The same as one server-sent event, for a stream that already answered 200."""
        return b"data: " + json.dumps(self.body()).encode() + b"\n\n"
