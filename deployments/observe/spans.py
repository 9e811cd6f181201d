"""One trace from the client's `traceparent` through ingress, router and replica into the engine.

    POST /v1/completions        ingress, SERVER: the whole answer     gen_ai.*, http.*
      admission                 waiting at the door                   adaspec.slo_class
      route                     CLIENT: until a replica's first part  adaspec.replica
        replica                 SERVER: the call in the replica
          queueing              until the engine schedules it
          prefill               until its first token                 gen_ai.usage.input_tokens
          decode                until its last                        adaspec.*: what became of the drafts; K as events

GenAI names are OpenTelemetry's; there are none for speculation, so those are `adaspec.*`. With Serve's own tracing on
(RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH) the proxy's and the handles' spans stand around these in the same trace.
"""

from __future__ import annotations

import json
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import Span, SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from prometheus_client.core import CounterMetricFamily

from deployments.calls import Call
from deployments.engine.request_trace import TRACE_KEY
from deployments.observe.speculation import text_of
from deployments.observe.tracing import provider
from deployments.settings import Tracing
from policies.exchange import TracedRequest

W3C = TraceContextTextMapPropagator()
NS = 1_000_000_000
KEPT = 4096
"""Calls whose arrival is remembered until the engine reports them."""


class Spans:
    """One process's tracer. `counts` has what became of its spans."""

    def __init__(
        self, settings: Tracing, service: str, ratio: Callable[[], float], out: SpanExporter | None = None
    ) -> None:
        self.counts: Counter[str] = Counter(ended=0, exported=0, failed=0)
        self._provider = provider(settings, service, self.counts, ratio, out)
        self.tracer: Tracer = self._provider.get_tracer("adaspec")
        self._arrived_ns: OrderedDict[str, int] = OrderedDict()

    @contextmanager
    def span(self, name: str, kind: SpanKind = SpanKind.INTERNAL) -> Iterator[Span]:
        """Under the current span. What is raised inside is recorded and passes through."""
        with self.tracer.start_as_current_span(name, kind=kind) as span:
            yield span

    def replica(self, call: Call) -> tuple[Call, Span]:
        """The call as the engine shall see it, and its span, which the caller ends."""
        span = self.tracer.start_span("replica", context=_remote(call), kind=SpanKind.SERVER)
        context = span.get_span_context()
        if not context.trace_flags.sampled or not call.body:
            return _without_context(call), span
        carried = injected(call, trace.set_span_in_context(span))
        parent = dict(carried.headers)[b"traceparent"].decode("latin-1")
        self._arrived_ns[parent] = time.time_ns()
        while len(self._arrived_ns) > KEPT:
            self._arrived_ns.popitem(last=False)
        return _without_context(replace(carried, body=_told(call.body, parent))), span

    def engine(self, traced: TracedRequest) -> None:
        """The engine's part of a request, once it has reported it."""
        context = W3C.extract({"traceparent": traced.traceparent})
        scheduled, first, last = (
            int(at_s * NS) for at_s in (traced.scheduled_at_s, traced.first_token_at_s, traced.finished_at_s)
        )
        arrived = min(self._arrived_ns.get(traced.traceparent, scheduled), scheduled)
        self._past("queueing", context, arrived, scheduled, {})
        self._past("prefill", context, scheduled, first, {"gen_ai.usage.input_tokens": _prompt_tokens(traced)})
        decode = self.tracer.start_span("decode", context=context, start_time=first, attributes=_speculation(traced))
        for at_s, k, reason in traced.changes:
            decode.add_event("adaspec.k", {"adaspec.k": k, "adaspec.reason": reason}, timestamp=int(at_s * NS))
        decode.end(max(last, first))

    def exposition(self, name: str) -> str:
        """`<name>_total{outcome}`: spans ended, exported, failed. Waiting or dropped: ended - exported - failed."""
        family = CounterMetricFamily(name, "Spans by what became of them.", labels=["outcome"])
        for outcome in ("ended", "exported", "failed"):
            family.add_metric([outcome], self.counts[outcome])
        return text_of(family)

    def flush(self) -> None:
        """Export what waits: blocks, so for tests and the end of a process."""
        self._provider.force_flush()

    def shutdown(self) -> None:
        self._provider.shutdown()

    def _past(self, name: str, context: Context, begin: int, end: int, attributes: dict[str, AttributeValue]) -> None:
        span = self.tracer.start_span(name, context=context, start_time=begin, attributes=attributes)
        span.end(max(end, begin))


def injected(call: Call, context: Context | None = None) -> Call:
    """The call under the current span, or under that of `context`."""
    carrier: dict[str, str] = {}
    W3C.inject(carrier, context)
    if not carrier:
        return call
    kept = tuple(header for header in call.headers if header[0].decode("latin-1") not in carrier)
    return replace(call, headers=kept + tuple((k.encode(), v.encode("latin-1")) for k, v in carrier.items()))


def annotate(**attributes: AttributeValue | None) -> None:
    """On the current span; underscores stand for dots after `gen_ai` and `adaspec`. None is left out."""
    span = trace.get_current_span()
    for name, value in attributes.items():
        if value is not None:
            span.set_attribute(DOTTED[name], value)


DOTTED = {
    "model": "gen_ai.request.model",
    "stream": "gen_ai.request.stream",
    "slo_class": "adaspec.slo_class",
    "replica": "adaspec.replica",
}


def _without_context(call: Call) -> Call:
    """The engine is told in the body; vLLM would warn at every such header that its own tracing is off."""
    headers = tuple(header for header in call.headers if header[0] not in (b"traceparent", b"tracestate"))
    return replace(call, headers=headers)


def _remote(call: Call) -> Context | None:
    """Of the caller's header; None, the current span, where Serve itself traces."""
    if trace.get_current_span().get_span_context().is_valid:
        return None
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in call.headers}
    return W3C.extract(headers)


def _told(body: bytes, parent: str) -> bytes:
    """The body with the trace context among the engine's extra arguments."""
    data: dict[str, Any] = json.loads(body)
    return json.dumps({**data, "vllm_xargs": {**(data.get("vllm_xargs") or {}), TRACE_KEY: parent}}).encode()


def _prompt_tokens(traced: TracedRequest) -> int:
    return max(traced.context_tokens - traced.output_tokens, 0)


def _speculation(traced: TracedRequest) -> dict[str, AttributeValue]:
    steps = sum(traced.k_steps.values())
    found: dict[str, AttributeValue] = {
        "gen_ai.usage.output_tokens": traced.output_tokens,
        "gen_ai.response.id": traced.request_id,
        "adaspec.policy": traced.policy,
        "adaspec.steps": steps,
        "adaspec.k.mean": sum(k * n for k, n in traced.k_steps.items()) / max(steps, 1),
        "adaspec.drafted_tokens": traced.drafted_tokens,
        "adaspec.verified_tokens": traced.verified_tokens,
        "adaspec.accepted_tokens": traced.accepted_tokens,
        "adaspec.early_stops": traced.early_stops,
        "adaspec.catch_up_tokens": traced.catch_up_tokens,
    }
    return found | {f"adaspec.decisions.{reason}": count for reason, count in traced.reasons.items()}
