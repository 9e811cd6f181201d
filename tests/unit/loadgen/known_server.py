"""A server whose first token and token spacing are known, for `python -m tests.unit.loadgen.known_server`.

Every token is due at an absolute time from the request's arrival, so that its own lateness does not add up. `/hold`
stops all answers until `/release`; `/received?count=N` answers when N requests have come. With `--key`, every route
wants it as a bearer token.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import urllib.request
from typing import Any

from aiohttp import web


class Known:
    """TTFT and spacing in seconds; as many tokens as max_tokens asks for."""

    def __init__(self, ttft_s: float, gap_s: float, models_s: float = 0.0) -> None:
        self.ttft_s, self.gap_s, self.models_s = ttft_s, gap_s, models_s
        self.received: list[dict[str, Any]] = []
        self.changed = asyncio.Condition()
        self.open = asyncio.Event()
        self.open.set()

    async def complete(self, request: web.Request) -> web.StreamResponse:
        arrived_s = time.perf_counter()
        body = await request.json()
        async with self.changed:
            self.received.append({"body": body, "headers": {k.lower(): v for k, v in request.headers.items()}})
            self.changed.notify_all()
        await self.open.wait()
        if body["prompt" if "prompt" in body else "messages"] == "refuse":
            return web.json_response({"error": {"message": "full"}}, status=429, headers={"Retry-After": "1"})
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for i in range(body["max_tokens"]):
            due_s = arrived_s + self.ttft_s + i * self.gap_s
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            await answer.write(event({"choices": [{"index": 0, "text": "x"}]}))
            if body["prompt"] == "break" and request.transport is not None:
                request.transport.abort()
                return answer
        usage = {"prompt_tokens": 7, "completion_tokens": body["max_tokens"]}
        await answer.write(event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")
        return answer

    async def wait_received(self, request: web.Request) -> web.Response:
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.received) >= int(request.query["count"]))
        return web.json_response(self.received)

    async def hold(self, _: web.Request) -> web.Response:
        self.open.clear()
        return web.Response()

    async def release(self, _: web.Request) -> web.Response:
        self.open.set()
        return web.Response()

    async def models(self, _: web.Request) -> web.Response:
        await asyncio.sleep(self.models_s)
        return web.json_response({"data": [{"id": "known"}]})

    async def metrics(self, _: web.Request) -> web.Response:
        tokens = sum(r["body"]["max_tokens"] for r in self.received)
        lines = {"generation_tokens_total": tokens, "num_requests_running": 0, "num_requests_waiting": 0}
        return web.Response(text="".join(f'vllm:{k}{{engine="0"}} {v}\n' for k, v in lines.items()))


def post(url: str, path: str) -> None:
    """Holds or releases it from outside."""
    urllib.request.urlopen(urllib.request.Request(url + path, method="POST")).close()  # noqa: S310 - http


def event(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def application(known: Known, key: str) -> web.Application:
    @web.middleware
    async def ask(request: web.Request, handler: Any) -> web.StreamResponse:
        if key and request.headers.get("Authorization") != f"Bearer {key}":
            return web.json_response({"error": {"message": "no key"}}, status=401)
        answer: web.StreamResponse = await handler(request)
        return answer

    app = web.Application(middlewares=[ask])
    app.router.add_post("/v1/completions", known.complete)
    app.router.add_get("/v1/models", known.models)
    app.router.add_get("/metrics", known.metrics)
    app.router.add_get("/received", known.wait_received)
    app.router.add_post("/hold", known.hold)
    app.router.add_post("/release", known.release)
    return app


def main() -> None:
    """Prints its port when it listens."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ttft-ms", type=float, default=50)
    parser.add_argument("--gap-ms", type=float, default=10)
    parser.add_argument("--key", default="")
    parser.add_argument("--models-s", type=float, default=0, help="until /v1/models answers")
    args = parser.parse_args()

    async def serve() -> None:
        runner = web.AppRunner(
            application(Known(args.ttft_ms / 1e3, args.gap_ms / 1e3, args.models_s), args.key), access_log=None
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)  # noqa: T201 - the parent reads it
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
