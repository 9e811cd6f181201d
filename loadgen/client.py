"""Sends one streamed request and stamps every piece of the answer as it leaves the socket.

Locust's own `FastHttpUser.iter_lines` waits for 1,024 bytes and so reports first tokens late; this reads lines.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from gevent import Timeout, ssl
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError

from loadgen import answer
from loadgen.outcome import Outcome
from loadgen.scenario import Scenario
from loadgen.schedule import Planned

FAILURES = (OSError, ssl.SSLError, Timeout, HTTPConnectionClosed, HTTPParseError)
IDLE_S = 1.0  # uvicorn closes a connection that idles 5 s; a request sent into that closing would be our error
PATHS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}


class Client:
    """Connections to one server, kept for a second and otherwise opened anew."""

    def __init__(self, url: str, scenario: Scenario, model: str, headers: dict[str, str]) -> None:
        self._url, self._scenario, self._model = url, scenario, model
        self._prefix = urlsplit(url).path.rstrip("/")
        self._headers = {"Content-Type": "application/json", **headers}
        self._classes = {c.name: c for c in scenario.classes}
        self._idle: list[tuple[float, HTTPClient]] = []

    def send(self, request: Planned, at_s: float, clock: Callable[[], float]) -> Outcome:
        """Blocks this greenlet until the answer ended, well or not; never raises what a server or network does."""
        body, headers = json.dumps(self.body(request)).encode(), self.headers(request)
        connection = self._connection()
        sent_s, events, status, error = clock(), [], 0, None
        try:
            response = connection.request("POST", self._prefix + PATHS[self._scenario.api], body, headers)
            status = response.status_code
            while line := response.readline(b"\n"):
                if line.startswith(b"data:"):
                    events.append((clock(), bytes(line)))
            self._idle.append((time.monotonic(), connection))
        except FAILURES as failure:
            connection.close()
            error = _kind(failure)
        return self._outcome(request, (at_s, sent_s, clock()), events, status, error)

    def body(self, request: Planned) -> dict[str, Any]:
        """The request as OpenAI's API has it."""
        scenario = self._scenario
        text = {"prompt": request.prompt}
        chat = {"messages": [{"role": "user", "content": request.prompt}]}
        found: dict[str, Any] = {
            "model": self._model,
            **(chat if scenario.api == "chat" else text),
            "max_tokens": request.max_tokens,
            "temperature": scenario.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if scenario.ignore_eos:
            found["ignore_eos"] = True
        tpot_ms = self._classes[request.slo_class].tpot_ms
        if scenario.slo == "vllm_xargs" and tpot_ms < float("inf"):
            found["vllm_xargs"] = {"adaspec_tpot_slo_ms": tpot_ms}
        return found | scenario.extra_body

    def headers(self, request: Planned) -> dict[str, str]:
        """With the request's objectives, where the scenario says so."""
        slo = self._classes[request.slo_class]
        if self._scenario.slo == "class":
            return {**self._headers, "x-slo-class": slo.name}
        if self._scenario.slo != "budgets":
            return self._headers
        budgets = {"x-slo-ttft-ms": slo.ttft_ms, "x-slo-tpot-ms": slo.tpot_ms}
        return self._headers | {name: f"{ms:g}" for name, ms in budgets.items() if ms < float("inf")}

    def _outcome(
        self,
        request: Planned,
        times_s: tuple[float, float, float],
        events: list[tuple[float, bytes]],
        status: int,
        error: str | None,
    ) -> Outcome:
        found = answer.parse(events)
        at_s, sent_s, end_s = times_s
        return Outcome(
            id=request.id,
            slo_class=request.slo_class,
            at_s=at_s,
            sent_s=sent_s,
            chunks_s=tuple(found.texts_s),
            end_s=end_s,
            prompt_tokens=found.prompt_tokens,
            output_tokens=len(found.texts_s) if found.output_tokens is None else found.output_tokens,
            counted="pieces" if found.output_tokens is None else "usage",
            status=status,
            error=error or _http_error(status) or found.error or (None if found.done else "cut off"),
        )

    def _connection(self) -> HTTPClient:
        """The last one used, if it is fresh."""
        while self._idle:
            since, connection = self._idle.pop()
            if time.monotonic() - since < IDLE_S:
                return connection
            connection.close()
        timeout_s = self._scenario.timeout_s
        return HTTPClient.from_url(self._url, connection_timeout=timeout_s, network_timeout=timeout_s, concurrency=1)


def bearer(api_key: str) -> dict[str, str]:
    """The header a key goes out in; none without one."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def get(url: str, path: str, timeout_s: float = 10.0, headers: Mapping[str, str] | None = None) -> bytes:
    """The body of a GET below `url`.

    Raises:
        OSError: the server cannot be reached, or answers with anything but 200.
    """
    connection = HTTPClient.from_url(url, connection_timeout=timeout_s, network_timeout=timeout_s)
    try:
        response = connection.get(urlsplit(url).path.rstrip("/") + path, dict(headers or {}))
        if response.status_code != 200:
            raise OSError(f"{url}{path} answered {response.status_code}")
        return bytes(response.read())
    except (HTTPConnectionClosed, HTTPParseError) as error:
        raise OSError(f"{url}{path}: {error}") from error
    finally:
        connection.close()


def first_model(url: str, headers: Mapping[str, str] | None = None) -> str:
    """The id of the first model the server lists. Raises OSError (see `get`) or ValueError (no model)."""
    body = get(url, "/v1/models", headers=headers)
    try:
        return str(json.loads(body)["data"][0]["id"])
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{url}/v1/models lists no model; name one in the scenario") from error


def _http_error(status: int) -> str | None:
    return None if status in {0, 200} else f"http {status}"


def _kind(failure: BaseException) -> str:
    if isinstance(failure, TimeoutError | Timeout):
        return "timeout"
    if isinstance(failure, ConnectionRefusedError):
        return "refused"
    if isinstance(failure, ConnectionResetError | BrokenPipeError | HTTPConnectionClosed):
        return "connection lost"
    return type(failure).__name__
