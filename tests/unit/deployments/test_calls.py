import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from deployments.calls import Call, Head, answer, whole


async def echo(request: Request) -> Response:
    return JSONResponse({"body": (await request.body()).decode(), "x": request.headers["x"]}, 201)


APP = Starlette(routes=[Route("/echo", echo, methods=["POST"])])


async def test_method_headers_and_body_arrive_and_the_answer_is_one_head() -> None:
    parts = [p async for p in answer(APP, Call("POST", "/echo", ((b"x", b"1"),), b"hello"))]
    (head,) = parts
    assert isinstance(head, Head)
    assert (head.status, head.body, head.last) == (201, b'{"body":"hello","x":"1"}', True)


async def test_each_part_comes_as_soon_as_it_is_sent_and_the_head_waits_for_the_first() -> None:
    go = asyncio.Queue[bytes]()

    async def parts() -> Any:
        while part := await go.get():
            yield part

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(parts())(scope, receive, send)

    answers = answer(app, Call("GET", "/"))
    first = asyncio.ensure_future(anext(answers))
    await asyncio.sleep(0)
    assert not first.done()
    go.put_nowait(b"1")
    head = await first
    assert isinstance(head, Head)
    assert (head.body, head.last) == (b"1", False)
    go.put_nowait(b"2")
    assert await anext(answers) == b"2"
    go.put_nowait(b"")
    assert [p async for p in answers] == []


async def test_closing_the_answer_cancels_the_application() -> None:
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"1", "more_body": True})
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    answers = answer(app, Call("GET", "/"))
    await anext(answers)
    await answers.aclose()
    assert ended.is_set()


async def test_what_the_application_raises_is_raised() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        await whole(app, Call("GET", "/"))


async def test_an_application_that_ends_half_way_is_an_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})

    with pytest.raises(RuntimeError, match="without completing"):
        await whole(app, Call("GET", "/"))
