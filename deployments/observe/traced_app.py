"""The ingress's span around its ASGI application: from the request to the last byte of the answer."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.observe.spans import W3C, Spans

OPERATIONS = {"/v1/completions": "text_completion", "/v1/chat/completions": "chat"}
SERVER_ERROR = 500


class TracedApp:
    """Traces generation; every other route passes through."""

    def __init__(self, app: ASGIApp, spans: Spans) -> None:
        self._app, self._spans = app, spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = OPERATIONS.get(scope.get("path", "")[len(scope.get("root_path", "")) :])
        if scope["type"] != "http" or operation is None:
            await self._app(scope, receive, send)
            return
        span = self._start(scope, operation)
        with trace.use_span(span, end_on_exit=True, record_exception=True):
            await self._app(scope, receive, _observed(send, span))

    def _start(self, scope: Scope, operation: str) -> Span:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        inside = trace.get_current_span().get_span_context().is_valid  # Serve's own tracing is on
        return self._spans.tracer.start_span(
            f"POST {scope['path']}",
            context=None if inside else W3C.extract(headers),
            kind=SpanKind.SERVER,
            attributes={
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": "vllm",
                "http.request.method": scope["method"],
                "http.route": scope["path"],
                "adaspec.request_id": headers.get("x-request-id", ""),
            },
        )


def _observed(send: Send, span: Span) -> Send:
    """Notes the status, and when the first part of the body goes out."""
    began_s, first = time.monotonic(), True

    async def observed(message: MutableMapping[str, Any]) -> None:
        nonlocal first
        if message["type"] == "http.response.start":
            span.set_attribute("http.response.status_code", message["status"])
            if message["status"] >= SERVER_ERROR:
                span.set_status(Status(StatusCode.ERROR))
        elif first:
            first = False
            span.set_attribute("adaspec.time_to_first_part_s", time.monotonic() - began_s)
        await send(message)

    return observed
