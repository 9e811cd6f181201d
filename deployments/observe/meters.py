"""The GenAI conventions' server histograms over OTLP, for collectors that do not scrape."""

from __future__ import annotations

import logging

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from deployments.observe.outcomes import DURATION_S, TPOT_S, TTFT_S, Outcome
from deployments.settings import Tracing

QUIET = ("opentelemetry.exporter.otlp.proto.http.metric_exporter", "opentelemetry.sdk.metrics._internal.export")
"""They write a traceback for every try while an endpoint is down."""


class Meters:
    """Records into memory; a thread exports every `metrics_every_s`. Without an endpoint nothing is recorded."""

    def __init__(self, settings: Tracing, reader: MetricReader | None = None) -> None:
        readers = [reader] if reader is not None else _readers(settings)
        provider = MeterProvider(readers, Resource.create({"service.name": "adaspec-ingress"}))
        self._on = bool(readers)
        meter = provider.get_meter("adaspec")
        self._duration, self._ttft, self._tpot = (
            meter.create_histogram(f"gen_ai.server.{name}", "s", text, explicit_bucket_boundaries_advisory=buckets)
            for name, text, buckets in (
                ("request.duration", "Whole request.", DURATION_S),
                ("time_to_first_token", "From arrival.", TTFT_S),
                ("time_per_output_token", "Mean of a request after its first token.", TPOT_S),
            )
        )

    def record(self, outcome: Outcome) -> None:
        """One finished request."""
        if not self._on:
            return
        of = {"gen_ai.provider.name": "vllm", "adaspec.slo_class": outcome.slo_class}
        self._duration.record(outcome.duration_s, of)
        for histogram, seconds in ((self._ttft, outcome.ttft_s), (self._tpot, outcome.tpot_s)):
            if seconds is not None:
                histogram.record(seconds, of)


def _readers(settings: Tracing) -> list[MetricReader]:
    if settings.metrics_endpoint is None:
        return []
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    exporter = OTLPMetricExporter(endpoint=settings.metrics_endpoint, timeout=settings.timeout_s)
    return [PeriodicExportingMetricReader(exporter, 1e3 * settings.metrics_every_s)]
