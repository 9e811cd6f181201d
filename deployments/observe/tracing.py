"""Where spans go, and what becomes of them. Nothing here can hold up or fail a request.

Spans wait in a bounded queue for a thread that exports them; what does not fit is dropped and counted.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from ray import serve
from ray.serve.exceptions import RayServeException

from deployments.settings import Tracing

logger = logging.getLogger(__name__)

OTLP_LOGGERS = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")
"""They write a line for every try and every dropped span; `Counted` counts them and writes one."""


class FileExporter(SpanExporter):
    """Spans as JSON lines in a file of bounded size. Opened for every batch, so that it may be moved or removed."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path, self._most_bytes = path, most_bytes

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size > self._most_bytes:
            self._path.replace(self._path.with_suffix(".old"))
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(f"{span.to_json(indent=None)}\n" for span in spans)
        return SpanExportResult.SUCCESS


class Counted(SpanExporter):
    """Counts what the exporter inside did with every span, and says once that it fails."""

    def __init__(self, inner: SpanExporter, counts: Counter[str]) -> None:
        self._inner, self._counts = inner, counts
        self._lock = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        why = None
        try:
            result = self._inner.export(spans)
        except Exception as error:  # noqa: BLE001 - the boundary: whatever an exporter meets stays out of the service
            result, why = SpanExportResult.FAILURE, error
        outcome = "exported" if result is SpanExportResult.SUCCESS else "failed"
        with self._lock:
            if outcome == "failed" and not self._counts["failed"]:
                logger.warning("spans are not exported: see adaspec_*_spans_total; requests go on", exc_info=why)
            self._counts[outcome] += len(spans)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class Queue(BatchSpanProcessor):
    """A batch processor that counts what it is given; given - exported - failed is waiting or was dropped."""

    def __init__(self, exporter: SpanExporter, counts: Counter[str], settings: Tracing) -> None:
        super().__init__(
            Counted(exporter, counts),
            max_queue_size=settings.queue_spans,
            schedule_delay_millis=1e3 * settings.every_s,
            max_export_batch_size=min(512, settings.queue_spans),
        )
        self._counts = counts

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            self._counts["ended"] += 1
            super().on_end(span)


class LiveRatio(Sampler):
    """A share of requests that may change while they are served."""

    def __init__(self, ratio: Callable[[], float]) -> None:
        self._ratio = ratio

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        return TraceIdRatioBased(self._ratio()).should_sample(*args, **kwargs)

    def get_description(self) -> str:
        return "LiveRatio"


def exporter(settings: Tracing, service: str) -> SpanExporter | None:
    """None: off."""
    if settings.exporter == "off":
        return None
    if settings.exporter == "console":
        return ConsoleSpanExporter(out=sys.stderr)
    if settings.exporter == "file":
        name = settings.file or str(Path(gettempdir()) / "adaspec-spans" / "{service}-{pid}.jsonl")
        return FileExporter(Path(name.format(service=service, pid=os.getpid())), settings.file_most_mib << 20)
    for name in OTLP_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return OTLPSpanExporter(endpoint=settings.endpoint, timeout=settings.timeout_s)


def provider(
    settings: Tracing, service: str, counts: Counter[str], ratio: Callable[[], float], out: SpanExporter | None = None
) -> TracerProvider:
    """The spans' way out of one process; not made global, so that it is nobody else's. `out`: instead of the settings'.

    A request is traced where its client says so, else for the share `ratio` of them.
    """
    resource = Resource.create({"service.name": f"adaspec-{service}", "service.instance.id": _instance()})
    out = out or exporter(settings, service)
    chosen = ALWAYS_OFF if out is None else ParentBased(LiveRatio(ratio))
    made = TracerProvider(sampler=chosen, resource=resource)
    if out is not None:
        made.add_span_processor(Queue(out, counts, settings))
    return made


def serve_processors() -> list[SpanProcessor]:
    """Serve's own spans, of its proxy and handles, to where ours go.

    Before Ray starts: RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH=deployments.observe.tracing:serve_processors, and
    ADASPEC_TRACING with `args.tracing` as JSON.
    """
    settings = Tracing.model_validate_json(os.environ.get("ADASPEC_TRACING", "{}"))
    out = exporter(settings, "serve")
    return [] if out is None else [Queue(out, Counter(), settings)]


def _instance() -> str:
    """Serve's id of this replica, or the process where there is no Serve."""
    try:
        return str(serve.get_replica_context().replica_id.unique_id)
    except RayServeException:
        return str(os.getpid())
