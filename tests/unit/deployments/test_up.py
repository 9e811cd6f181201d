"""`make serve` once the service answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deployments import up


class Locked(BaseHTTPRequestHandler):
    """A service that tells its models to nobody without a token."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: a test's output is its own."""


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Locked)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_service_that_asks_for_tokens_is_ready_too(url: str) -> None:
    assert up._answers(f"{url}/health")
    said = up._invitation(url, up._model(url), took_s=3)
    assert "it asks for a token" in said
    assert "authorization: Bearer TOKEN" in said
    assert '"model"' not in said


@pytest.mark.parametrize(
    ("applications", "url"),
    [
        ([], "http://127.0.0.1:8000"),
        ([{"route_prefix": None}], "http://127.0.0.1:8000"),
        ([{"route_prefix": "/v2/"}], "http://127.0.0.1:8000/v2"),
    ],
)
def test_where_it_answers(applications: list[dict[str, object]], url: str) -> None:
    assert up._url({"applications": applications}) == url
