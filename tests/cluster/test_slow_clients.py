"""Clients that do not read what they asked for, through Serve's proxy: they hold up neither seats nor the others."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.cluster.service import Service, config, eventually
from tests.cluster.streams import PATH, body

SEATS, TOKENS = 2, 600
LONG_ID = "r" * 8000  # comes back in every event: 5 MB a stream, more than sockets buffer


@pytest.fixture(scope="module", autouse=True)
def few_seats(service: Service) -> None:
    service.deploy(config(engine={"max_num_seqs": SEATS}))
    service.ready()


@contextmanager
def unread(service: Service) -> Iterator[socket.socket]:
    """A stream that has begun, of which no more is read."""
    asked = json.dumps(body(TOKENS)).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(asked)}\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", int(service.url.rpartition(":")[2])))
        client.sendall(f"{head}x-request-id: {LONG_ID}\r\n\r\n".encode() + asked)
        client.settimeout(30)
        assert b"200" in client.recv(64)
        yield client


def test_streams_nobody_reads_hold_no_seat(service: Service) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(unread(service)) for _ in range(SEATS + 1)]
        for _ in range(10):
            assert service.http.post(PATH, json=body(2, stream=False)).status_code == 200
        text = b""
        while b"[DONE]" not in text[-200:]:
            part = clients[0].recv(1 << 20)
            assert part
            text += part
        assert text.count(b"data: {") == TOKENS
    eventually(lambda: service.total("vllm:num_requests_running") == 0)
