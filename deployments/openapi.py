"""Writes openapi.json from vLLM's protocol classes and ours: `make openapi`. The ingress serves the file as it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest, ChatCompletionResponse
from vllm.entrypoints.openai.completion.protocol import CompletionRequest, CompletionResponse
from vllm.entrypoints.serve.engine.protocol import ErrorResponse, ModelList

from deployments.access import OPERATORS, PUBLIC
from deployments.ingress import OPENAPI
from deployments.slo_status import SloStatus
from deployments.status import FleetStatus, PolicyList

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "The request is not valid."},
    401: {"model": ErrorResponse, "description": "A bearer token is needed."},
    404: {"model": ErrorResponse, "description": "No such route or model."},
    408: {"model": ErrorResponse, "description": "The body was not complete in time."},
    413: {"model": ErrorResponse, "description": "The body is too large."},
    415: {"model": ErrorResponse, "description": "The body's content-type is not application/json."},
    429: {"model": ErrorResponse, "description": "Too many requests are waiting; Retry-After says when to try again."},
    431: {"model": ErrorResponse, "description": "The headers are too large."},
    503: {"model": ErrorResponse, "description": "No replica is ready; Retry-After says when to try again."},
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "With `stream`, events; else one object."}
}


def document() -> dict[str, Any]:
    """The schema of everything the ingress answers."""
    app = FastAPI(title="adaspec-serve", version="1", summary="OpenAI's API with adaptive speculative decoding")

    def completions(body: CompletionRequest) -> None: ...
    def chat(body: ChatCompletionRequest) -> None: ...
    def nothing() -> None: ...

    generate: dict[str, Any] = {"methods": ["POST"], "responses": STREAM | ERRORS}
    app.add_api_route("/v1/completions", completions, response_model=CompletionResponse, name="completions", **generate)
    app.add_api_route("/v1/chat/completions", chat, response_model=ChatCompletionResponse, name="chat", **generate)
    for path, name, model in (
        ("/v1/models", "Models", ModelList),
        ("/v1/policy", "Active policies, learned state, last rejected config", PolicyList),
        ("/v1/replicas", "The load monitor's view", FleetStatus),
        ("/v1/slo", "SLO classes: objectives, live attainment, admission, forecast", SloStatus),
        ("/health", "Ready: a replica answers", dict[str, str]),
        ("/health/live", "Live: the ingress runs", dict[str, str]),
        ("/version", "Versions", dict[str, str]),
    ):
        app.add_api_route(path, nothing, name=name, response_model=model, responses=_refusals(path))
    for path, name, kind in (
        ("/metrics", "Prometheus text, every sample labelled with its replica", "text/plain"),
        ("/dashboard", "The live page", "text/html"),
        ("/dashboard/events", "What the live page shows, four times a second", "text/event-stream"),
    ):
        shown: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {}}, "description": name}}
        app.add_api_route(path, nothing, name=name, responses=shown | _refusals(path))
    schema = app.openapi()
    schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # FastAPI's own answer to a bad body; ours is 400
            operation["security"] = [] if path in PUBLIC else [{}, {"token": []}]  # only where `access` names tokens
    return schema


def _refusals(path: str) -> dict[int | str, dict[str, Any]]:
    """What a route without a body may answer instead."""
    statuses = {431, 503} if path in PUBLIC else {401, 431, 503}
    operators = path in OPERATORS or path.startswith("/dashboard/")
    return {status: ERRORS[status] for status in sorted(statuses | ({404} if operators else set()))}


def text() -> str:
    """The document as written to the file."""
    return json.dumps(document(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    OPENAPI.write_text(text())
    sys.stdout.write(f"{Path(OPENAPI).name}: written\n")
