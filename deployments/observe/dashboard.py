"""The live page's routes: three static files and one stream of events. Nothing is fetched from anywhere else."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from deployments.observe.watch import Watch

FOLDER = Path(__file__).with_name("page")
TYPES = {"app.js": "text/javascript", "charts.js": "text/javascript", "style.css": "text/css"}
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "  # bars carry their own width
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}
STREAM = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def routes(watch: Watch) -> list[BaseRoute]:
    """`/dashboard` and what it loads, relative to itself, so that any route prefix will do."""

    async def page(_: Request) -> Response:
        return FileResponse(FOLDER / "index.html", media_type="text/html", headers=HEADERS)

    async def events(_: Request) -> Response:
        return StreamingResponse(watch.events(), media_type="text/event-stream", headers=STREAM)

    def file(name: str) -> Route:
        async def send(_: Request) -> Response:
            return FileResponse(FOLDER / name, media_type=TYPES[name], headers=HEADERS)

        return Route(f"/dashboard/{name}", send)

    return [Route("/dashboard", page), Route("/dashboard/events", events), *(file(name) for name in TYPES)]
