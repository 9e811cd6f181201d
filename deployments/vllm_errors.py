"""Errors of vLLM's that are the request's own fault, answered as such."""

from __future__ import annotations

from types import SimpleNamespace

from fastapi import FastAPI, Request
from starlette.responses import Response
from vllm.exceptions import GenerationError

from deployments.errors import ApiError

GRAMMARS = ("structured_outputs", "response_format")


def install(app: FastAPI) -> None:
    """Asked before vLLM's own handlers."""
    app.exception_handler(GenerationError)(ended_early)
    # vLLM's handler of a failed engine tells its own HTTP server to end; here Serve looks after the engine.
    app.state.server = SimpleNamespace(should_exit=False)


async def ended_early(request: Request, error: GenerationError) -> Response:
    """400 where the request has a grammar: vLLM ends it with an internal error when no token can follow it."""
    body = await request.json()  # as vLLM has read it
    if any(body.get(name) for name in GRAMMARS):
        return ApiError(400, "no token of the model's vocabulary can follow this grammar", param=GRAMMARS[0]).response()
    return ApiError(500, str(error)).response()
