"""A streamed request under an adaptive policy, as its trace tells it: every span from the ingress into the engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from deployments.settings import AppArgs
from tests.local.scraped import scraped
from tests.spans import PARENT, SAMPLED, TRACE, written

NOBODY = "http://127.0.0.1:9/v1/traces"  # the discard port: nothing listens
FAILED = 'adaspec_replica_spans_total{replica="local",outcome="failed"} 12.0'
TREE = {
    "POST /v1/completions": None,
    "admission": "POST /v1/completions",
    "route": "POST /v1/completions",
    "replica": "route",
    "queueing": "replica",
    "prefill": "replica",
    "decode": "replica",
}


@pytest.fixture
def args(tmp_path: Path, request: pytest.FixtureRequest) -> AppArgs:
    """Spans go to files in `tmp_path`, unless a test says otherwise."""
    policy = {"name": "slo_goodput", "params": {"k": 4}}
    engine = {"kind": "fake", "step_ms": 20, "draft_ms": 0.5, "acceptance": 0.9, "safe_policy": policy}
    tracing = {"exporter": "file", "file": str(tmp_path / "{service}.jsonl"), "every_s": 0.05}
    tracing |= getattr(request, "param", {})
    return AppArgs.model_validate({"engine": engine, "tracing": tracing})


async def collected(folder: Path, names: set[str]) -> dict[str, dict[str, Any]]:
    """Spans by name, once all of them were exported."""
    async with asyncio.timeout(20):
        while not names <= {span["name"] for span in written(folder)}:  # noqa: ASYNC110 - made by other threads
            await asyncio.sleep(0.02)
    return {span["name"]: span for span in written(folder)}


async def streamed(http: httpx.AsyncClient, headers: dict[str, str]) -> str:
    body = {"model": "fake", "prompt": "a b c", "max_tokens": 60, "stream": True}
    answer = await http.post("/v1/completions", json=body, headers=headers)
    assert answer.status_code == 200
    return answer.text


async def test_the_span_tree_of_a_streamed_request(
    http: httpx.AsyncClient, handles: tuple[Any, Any], tmp_path: Path
) -> None:
    await streamed(http, SAMPLED)
    await handles[0].status.remote()  # the report that brings the engine's part
    spans = await collected(tmp_path, set(TREE))
    by_id = {span["context"]["span_id"]: name for name, span in spans.items()}
    for name, parent in TREE.items():
        span = spans[name]
        assert span["context"]["trace_id"] == f"0x{TRACE}", name
        assert span["parent_id"] == f"0x{PARENT}" if parent is None else by_id[span["parent_id"]] == parent, name
    assert (spans["POST /v1/completions"]["kind"], spans["route"]["kind"]) == ("SpanKind.SERVER", "SpanKind.CLIENT")


async def test_its_attributes_and_events(http: httpx.AsyncClient, handles: tuple[Any, Any], tmp_path: Path) -> None:
    await streamed(http, SAMPLED)
    await handles[0].status.remote()
    spans = await collected(tmp_path, set(TREE))
    request = spans["POST /v1/completions"]["attributes"]
    assert request["gen_ai.operation.name"] == "text_completion"
    assert request["gen_ai.request.model"] == "fake"
    assert request["http.response.status_code"] == 200
    assert request["adaspec.slo_class"] == "default"
    assert spans["route"]["attributes"]["adaspec.replica"] == "local"
    decode = spans["decode"]["attributes"]
    assert decode["gen_ai.usage.output_tokens"] == 60
    assert spans["prefill"]["attributes"]["gen_ai.usage.input_tokens"] == 3
    assert decode["adaspec.policy"] == "slo_goodput"
    assert (
        decode["adaspec.drafted_tokens"] >= decode["adaspec.verified_tokens"] >= decode["adaspec.accepted_tokens"] > 0
    )
    assert {"adaspec.early_stops", "adaspec.catch_up_tokens", "adaspec.decisions.draft"} <= set(decode)
    events = [event["attributes"] for event in spans["decode"]["events"]]
    assert {event["adaspec.k"] for event in events} & {1, 2, 3, 4}
    assert {event["adaspec.reason"] for event in events} <= {"draft", "plain", "probe", "no_room"}


async def test_the_engines_spans_follow_each_other_inside_the_replicas(
    http: httpx.AsyncClient, handles: tuple[Any, Any], tmp_path: Path
) -> None:
    await streamed(http, SAMPLED)
    await handles[0].status.remote()
    spans = await collected(tmp_path, set(TREE))
    ends = {name: (span["start_time"], span["end_time"]) for name, span in spans.items()}
    assert ends["replica"][0] <= ends["queueing"][0]
    assert ends["queueing"][1] == ends["prefill"][0]
    assert ends["prefill"][1] == ends["decode"][0]
    assert ends["decode"][1] <= ends["replica"][1]
    assert ends["decode"][1] <= ends["POST /v1/completions"][1]


@pytest.mark.parametrize("headers", [{}, {"traceparent": f"00-{TRACE}-{PARENT}-00"}])
async def test_a_request_nobody_wants_traced_leaves_nothing(
    http: httpx.AsyncClient, ingress: Any, handles: tuple[Any, Any], tmp_path: Path, headers: dict[str, str]
) -> None:
    ingress.reconfigure({"trace_sample_ratio": 0.0})
    await streamed(http, headers)
    assert (await handles[0].status.remote()).report.traced == ()
    await streamed(http, SAMPLED)
    await handles[0].status.remote()
    await collected(tmp_path, set(TREE))
    assert {span["context"]["trace_id"] for span in written(tmp_path)} == {f"0x{TRACE}"}
    assert len(written(tmp_path)) == len(TREE)


async def test_spans_are_counted(http: httpx.AsyncClient, handles: tuple[Any, Any], tmp_path: Path) -> None:
    await streamed(http, SAMPLED)
    await handles[0].status.remote()
    await collected(tmp_path, set(TREE))
    text = await scraped(http)
    assert 'adaspec_replica_spans_total{replica="local",outcome="exported"} 4.0' in text
    assert 'adaspec_ingress_spans_total{outcome="exported"} 3.0' in text


@pytest.mark.parametrize("args", [{"exporter": "otlp", "endpoint": NOBODY, "timeout_s": 0.2}], indirect=True)
async def test_an_endpoint_that_is_down_fails_no_request(http: httpx.AsyncClient, handles: tuple[Any, Any]) -> None:
    for _ in range(3):
        assert "[DONE]" in await streamed(http, SAMPLED)
    await handles[0].status.remote()
    async with asyncio.timeout(20):
        while FAILED not in (text := await scraped(http)):  # noqa: ASYNC110 - other threads export
            await asyncio.sleep(0.05)
    assert 'adaspec_ingress_spans_total{outcome="exported"} 0.0' in text
