"""Exporting: bounded, counted, never in a request's way."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from deployments.calls import Call
from deployments.observe.spans import Spans
from deployments.observe.tracing import FileExporter, serve_processors
from deployments.settings import Tracing

FAST = Tracing(exporter="off", every_s=0.05)


class Held(SpanExporter):
    """An endpoint that does not answer until it is let go."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.reached.set()
        self.go.wait(30)
        return SpanExportResult.SUCCESS


class Broken(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise ConnectionError("no route")


def some(spans: Spans, count: int) -> float:
    """Seconds it took to make them."""
    started_s = time.perf_counter()
    for _ in range(count):
        with spans.span("one"):
            pass
    return time.perf_counter() - started_s


def test_a_slow_endpoint_holds_up_nobody_and_memory_is_bounded() -> None:
    held = Held()
    spans = Spans(FAST.model_copy(update={"queue_spans": 64}), "test", lambda: 1.0, held)
    some(spans, 64)
    assert held.reached.wait(10)
    some(spans, 1000)  # returns although nothing is exported
    assert (spans.counts["ended"], spans.counts["exported"]) == (1064, 0)
    held.go.set()
    spans.flush()
    assert 64 <= spans.counts["exported"] <= 2 * 64 + 1


def test_an_exporter_that_raises_is_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    spans = Spans(FAST, "test", lambda: 1.0, Broken())
    for _ in range(3):
        some(spans, 2)
        spans.flush()
    assert (spans.counts["failed"], spans.counts["exported"]) == (6, 0)
    assert [r.levelname for r in caplog.records if "not exported" in r.message] == ["WARNING"]
    assert 'x_total{outcome="failed"} 6.0' in spans.exposition("x")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's file that is always full")
def test_a_full_disk_is_counted_and_costs_no_request(caplog: pytest.LogCaptureFixture) -> None:
    spans = Spans(FAST, "test", lambda: 1.0, FileExporter(Path("/dev/full"), most_bytes=1 << 20))
    some(spans, 3)
    spans.flush()
    assert (spans.counts["failed"], spans.counts["exported"]) == (3, 0)
    assert len([r for r in caplog.records if "not exported" in r.message]) == 1
    assert "No space left on device" in caplog.text


def test_nobody_listens_at_the_otlp_endpoint() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    settings = Tracing(exporter="otlp", endpoint=f"http://127.0.0.1:{port}/v1/traces", timeout_s=0.2, every_s=0.05)
    spans = Spans(settings, "test", lambda: 1.0)
    some(spans, 3)
    spans.flush()
    assert spans.counts["failed"] == 3


def test_the_ratio_is_live_and_off_means_off() -> None:
    ratio = 0.0
    spans = Spans(FAST, "test", lambda: ratio, Broken())
    some(spans, 5)
    assert spans.counts["ended"] == 0
    ratio = 1.0
    some(spans, 5)
    assert spans.counts["ended"] == 5
    off = Spans(FAST, "test", lambda: 1.0)
    some(off, 5)
    assert off.counts["ended"] == 0


def test_the_file_holds_a_line_a_span_and_is_replaced_when_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "deep/spans.jsonl"
    spans = Spans(FAST, "test", lambda: 1.0, FileExporter(path, most_bytes=100))
    for _ in range(3):
        some(spans, 2)
        spans.flush()
    lines = path.read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["one", "one"]
    assert path.with_suffix(".old").exists()


def test_serves_own_spans_go_where_ours_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADASPEC_TRACING", '{"exporter": "off"}')
    assert serve_processors() == []
    monkeypatch.setenv("ADASPEC_TRACING", '{"exporter": "console"}')
    (processor,) = serve_processors()
    processor.shutdown()


@pytest.mark.parametrize("flags", ["01", "00"])
def test_the_engine_hears_of_a_trace_in_the_body_never_in_a_header(flags: str) -> None:
    exporter = Held()
    exporter.go.set()
    spans = Spans(FAST, "test", lambda: 1.0, exporter)
    parent = f"00-{'a' * 32}-{'b' * 16}-{flags}".encode()
    headers = ((b"traceparent", parent), (b"tracestate", b"x=1"), (b"accept", b"*/*"))
    call, span = spans.replica(Call("POST", "/v1/completions", headers=headers, body=b'{"prompt": "p"}'))
    span.end()
    assert call.headers == ((b"accept", b"*/*"),)
    assert (b"a" * 32 in call.body) == (flags == "01")
