from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from benchmarks.clients import PATH, Clients, Outcome, Request, clients

BODY = {"prompt": "p", "max_tokens": 2, "stream": True}
TOKEN = b'data: {"choices": [{"text": " w"}]}\n\n'
ERROR = b'data: {"error": {"code": 500}}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ({"status": 200, "done": True}, "served"),
        ({"status": 429, "retry_after_s": 1.0}, "refused"),
        ({"status": 503, "retry_after_s": 2.0}, "refused"),
        ({"status": 503}, "lost"),
        ({"status": 500}, "lost"),
        ({"status": 200, "first_s": 1.0, "errors": 1}, "error event"),
        ({"status": 200, "first_s": 1.0, "errors": 2}, "lost"),
        ({"status": 200, "first_s": 1.0, "errors": 1, "done": True}, "lost"),  # a broken text that says it is whole
        ({"status": 200, "first_s": 1.0}, "closed"),
        ({"failure": "connection refused"}, "closed"),
        ({"status": 200, "first_s": 1.0, "hung": True}, "hung"),
        ({"status": 200, "first_s": 1.0, "left": True}, "left"),
    ],
)
def test_an_outcome_is_what_the_client_saw(given: dict[str, object], outcome: Outcome) -> None:
    request = Request(0.0, BODY)
    for name, value in given.items():
        setattr(request, name, value)
    assert request.outcome == outcome


@asynccontextmanager
async def server(*parts: bytes, whole: bool = True) -> AsyncIterator[Clients]:
    """Clients of a server that answers with these parts, and then ends its answer or only its connection."""

    async def answer(http: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(http)
        for part in parts:
            await response.write(part)
        if not whole and http.transport is not None:
            http.transport.close()
        return response

    app = web.Application()
    app.router.add_post(PATH, answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with clients(f"http://127.0.0.1:{port}", deadline_s=10) as load:
            yield load
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("parts", "whole", "outcome"),
    [
        ((TOKEN, TOKEN, DONE), True, "served"),
        ((TOKEN, ERROR), True, "error event"),
        ((TOKEN,), True, "closed"),
        ((TOKEN,), False, "closed"),
        ((), False, "closed"),
    ],
)
async def test_a_stream_is_read_to_its_end(parts: tuple[bytes, ...], whole: bool, outcome: Outcome) -> None:
    async with server(*parts, whole=whole) as load:
        request = await load.send(BODY)
    assert request.outcome == outcome
    assert request.text == " w" * parts.count(TOKEN)
    assert (load.ended, load.open) == ([request], set())


async def test_a_client_that_leaves_hears_no_more() -> None:
    async with server(TOKEN, TOKEN, TOKEN, DONE) as load:
        request = await load.send(BODY, leave_after=1)
    assert (request.outcome, request.text) == ("left", " w")


async def test_loops_send_until_the_block_ends() -> None:
    body: Callable[[int], dict[str, object]] = lambda number: BODY | {"prompt": str(number)}  # noqa: E731 - short
    async with server(TOKEN, DONE) as load:
        async with load.loops(3, body):
            while len(load.ended) < 10:
                await load.send(BODY)
        assert not load.open
    numbers = [r.body["prompt"] for r in load.ended if r.body["prompt"] != "p"]
    assert sorted(map(int, numbers)) == list(range(len(numbers)))
