"""Clients on a socket that send or read slowly, and headers no client library would send."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2 as httpx
import pytest

from deployments.ingress import Ingress
from tests.local.served import free_port, served

TOKENS = 4000
BODY = json.dumps({"prompt": "p", "max_tokens": TOKENS, "ignore_eos": True, "stream": True}).encode()
HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
STREAM = HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
RUNNING = 'vllm:num_requests_running{replica="local",model_name="fake"}'


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """With a window of a few KiB: what is not read soon stops the sender."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=plain, limit=4096)
    try:
        yield reader, writer
    finally:
        writer.close()


async def running(http: httpx.AsyncClient, count: int) -> None:
    """Returns once as many requests run in the engine."""
    async with asyncio.timeout(20):
        while f"{RUNNING} {count}\n" not in (await http.get("/metrics")).text:
            pass


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_client_that_reads_slowly_holds_nobody_up(
    ingress: Ingress, http: httpx.AsyncClient, leaves: bool
) -> None:
    port = free_port()
    async with served(ingress, port), connected(port) as (reader, writer):
        writer.write(STREAM)
        assert b"200 OK" in await reader.readuntil(b"\r\n")
        for _ in range(20):
            assert (await http.post("/v1/completions", json={"prompt": "p", "max_tokens": 2})).status_code == 200
        if leaves:
            writer.transport.abort()
        else:
            text = await reader.read()
            assert text.count(b"data: {") == TOKENS
            assert b"data: [DONE]" in text
        await running(http, 0)


async def test_a_client_that_sends_slowly_is_served(ingress: Ingress, http: httpx.AsyncClient) -> None:
    port = free_port()
    async with served(ingress, port), connected(port) as (reader, writer):
        for byte in STREAM.replace(b"4000", b"   2"):
            writer.write(bytes([byte]))
            await writer.drain()
        assert b"data: [DONE]" in await reader.read()


@pytest.mark.parametrize(
    "headers",
    [
        b"content-length: 2\r\ncontent-length: 3\r\n",
        b"content-length: 2\r\ntransfer-encoding: chunked\r\n",
        b"content-length: 2x\r\n",
        b"no colon\r\n",
        b"x-null: a\x00b\r\n",
        b": nameless\r\n",
        b"x-" + b"n" * 100_000 + b": v\r\n",
        b"x-long: " + b"v" * 2_000_000 + b"\r\n",
        b"x-many: v\r\n" * 20_000,
    ],
    ids=lambda raw: raw[:24].decode("latin-1"),
)
async def test_headers_no_library_would_send(
    ingress: Ingress, http: httpx.AsyncClient, headers: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    async with served(ingress, port), connected(port) as (reader, writer):
        writer.write(HEAD + headers + b"\r\n{}")
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 20)
    assert answer.split(b" ")[1:2] in ([], [b"400"], [b"431"])
    assert not [record for record in caplog.records if record.exc_info]
    assert (await http.post("/v1/completions", json={"prompt": "p", "max_tokens": 2})).status_code == 200
