"""Requests made from openapi.json, valid and invalid: what was answered, and whether the engine lives.

`python -m tests.faults.schema 200`: as many for every route, of the application with a fake engine in this process,
then a table. With a URL as well, only the routes that generate, of the service there. Survived: an answer below 500,
errors in OpenAI's shape. After every route a good request must be served, with no sequence left in the engine.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx2 as httpx
import schemathesis.openapi
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from deployments.ingress import OPENAPI, Ingress
from deployments.settings import AppArgs
from tests.local.graph import started

SCHEMA = json.loads(OPENAPI.read_text())
ENDLESS = "/dashboard/events"  # a stream without an end: tests/local/test_page.py reads it over a socket
GENERATE = tuple(path for path, of in SCHEMA["paths"].items() if "post" in of)
PLAIN = tuple(path for path in SCHEMA["paths"] if path not in (*GENERATE, ENDLESS))
GOOD = {"prompt": "p", "max_tokens": 2}
SERVABLE: dict[str, Any] = {"max_tokens": 2, "n": 1, "stream_options": None}
RUNNING = re.compile(r"^vllm:num_requests_(?:running|waiting)\{[^}]*\} (\S+)", re.MULTILINE)
ASKS: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "p"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "p"}]},
}
WITHIN_S = 30
Send = Callable[[dict[str, Any]], None]
ASCII = st.characters(codec="ascii", exclude_categories=["Cc"])


@dataclass(slots=True)
class Tried:
    """What became of one route's requests."""

    path: str
    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    def row(self) -> str:
        tried = self.statuses.total()
        by = " ".join(f"{status}:{count}" for status, count in sorted(self.statuses.items()))
        return f"| `{self.path}` | {tried} | {tried - len(self.lost)} | {len(self.lost)} | {by} |"


class Service:
    """Whoever answers, asked one request after the other."""

    def __init__(self, runner: asyncio.Runner, http: httpx.AsyncClient) -> None:
        self._runner, self._http = runner, http
        self._eventually(lambda: self._asked("GET", "/v1/models").status_code == 200)
        self.model = str(self._asked("GET", "/v1/models").json()["data"][0]["id"])

    def answered(self, request: dict[str, Any], tried: Tried) -> None:
        """Sends, and judges the answer."""
        try:
            answer = self._asked(**request)
        except (TimeoutError, httpx.HTTPError) as error:
            tried.statuses[0] += 1
            tried.lost.append(f"no answer: {error!r}: {request!r:.1000}")
            return
        tried.statuses[answer.status_code] += 1
        if answer.status_code >= 500 or (answer.status_code >= 400 and not shaped(answer)):
            tried.lost.append(f"{answer.status_code} {answer.text:.300}: {request!r:.1000}")

    def alive(self) -> bool:
        """Whether a good request is served, and nothing of the others is left after a moment."""
        served = self._asked("POST", "/v1/completions", json=GOOD).status_code == 200
        return served and self._eventually(self._idle)

    def _eventually(self, what: Callable[[], bool]) -> bool:
        until_s = time.monotonic() + WITHIN_S
        while not (found := what()) and time.monotonic() < until_s:
            time.sleep(0.1)
        return found

    def _idle(self) -> bool:
        counts = RUNNING.findall(self._asked("GET", "/metrics").text)
        return bool(counts) and not any(map(float, counts))

    def _asked(self, method: str, url: str, **request: Any) -> httpx.Response:
        return self._runner.run(asyncio.wait_for(self._http.request(method, url, **request), WITHIN_S))


def shaped(answer: httpx.Response) -> bool:
    """OpenAI's shape. An answer to HEAD has no body."""
    if answer.request.method == "HEAD":
        return True
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return False
    return bool(error.keys() == {"message", "type", "param", "code"} and error["code"] == answer.status_code)


@contextmanager
def application() -> Iterator[Service]:
    """The graph with a fake engine, and one event loop for all requests."""
    args = AppArgs.model_validate({"engine": {"kind": "fake", "max_model_len": 64}})
    app = Ingress(*started(args), args.tracing).__serve_build_asgi_app__()
    with asyncio.Runner() as runner:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        yield Service(runner, httpx.AsyncClient(transport=transport, base_url="http://local"))


@contextmanager
def elsewhere(url: str) -> Iterator[Service]:
    """A service that runs already."""
    with asyncio.Runner() as runner:
        yield Service(runner, httpx.AsyncClient(base_url=url, timeout=WITHIN_S))


def generated(path: str, model: str, cases: int, send: Send) -> None:
    """Half of the cases valid, half not, of a route with a body. One after the other; nothing is shrunk."""
    schema, servable = schemathesis.openapi.from_dict(SCHEMA), SERVABLE | {"model": model} | ASKS[path]
    for mode in GenerationMode:
        turn = itertools.count() if mode is GenerationMode.POSITIVE else itertools.repeat(0)
        _each(schema[path]["POST"].as_strategy(mode), cases // 2, partial(_send, servable, turn, send))


def _each(strategy: st.SearchStrategy[Any], most: int, use: Callable[[Any], None]) -> None:
    @_cases(most)
    @given(strategy)
    def each(case: Any) -> None:
        use(case)

    each()


def _send(servable: dict[str, Any], turn: Iterator[int], send: Send, case: Any) -> None:
    """Every other valid one names this server's model, and so gets as far as the engine."""
    made = case.as_transport_kwargs(base_url="")
    kept = {name: made[name] for name in ("method", "url", "headers", "params", "json") if name in made}
    if next(turn) % 2:
        kept["json"] |= servable
    data = made.get("data")
    send(kept | ({"content": data} if isinstance(data, bytes | str) else {"data": data} if data else {}))


def odd(path: str, cases: int, send: Send) -> None:
    """Of a route without parameters: any method, query, headers and body."""
    names = st.text(ASCII.filter(lambda c: c.isalnum()), min_size=1, max_size=20)

    @_cases(cases)
    @given(
        st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
        st.dictionaries(st.text(max_size=20).filter(_encodable), st.text(max_size=50).filter(_encodable), max_size=5),
        st.dictionaries(names, st.text(ASCII, max_size=200), max_size=5),
        st.binary(max_size=200),
    )
    def each(method: str, params: dict[str, str], headers: dict[str, str], content: bytes) -> None:
        send({"method": method, "url": path, "params": params, "headers": headers, "content": content})

    each()


def run(service: Service, path: str, cases: int) -> Tried:
    """`cases` requests to `path`."""
    tried = Tried(path)

    def send(request: dict[str, Any]) -> None:
        service.answered(request, tried)

    if path in GENERATE:
        generated(path, service.model, cases, send)
    else:
        odd(path, cases, send)
    if not service.alive():
        tried.lost.append("a good request was not served afterwards, or something was left running")
    return tried


def _cases(most: int) -> settings:
    return settings(
        max_examples=most,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def _encodable(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def main(cases: int, url: str | None = None) -> int:
    """The table; exit status 1 if anything was lost."""
    lost: list[str] = []
    sys.stdout.write("| route | tried | survived | lost | answers |\n|---|---|---|---|---|\n")
    with application() if url is None else elsewhere(url) as service:
        for path in (*GENERATE, *(PLAIN if url is None else ())):
            tried = run(service, path, cases)
            lost += tried.lost
            sys.stdout.write(tried.row() + "\n")
            sys.stdout.flush()
    sys.stdout.write("".join(f"{of}\n" for of in lost))
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:3]))
