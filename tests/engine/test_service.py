"""The whole service on real vLLM: what the openai client can do, and a policy swapped in the middle of a stream."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest
import yaml

from benchmarks.servers import Server, free_port
from tests.cluster.service import eventually
from tests.faults.extremes import EXTREMES
from tests.faults.identity import Compared, answers, cases, compare
from tests.faults.schema import GENERATE, elsewhere, run, shaped
from tests.spans import SAMPLED, asked_for

pytestmark = pytest.mark.timeout(600)  # the first test waits for the engine

ROOT = Path(__file__).parents[2]
MODEL = "demo"
PROMPT = "def fibonacci(n):\n"
SCHEMA = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The shipped file with the smaller target, on a free port."""
    raw = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    port = free_port()
    raw["http_options"]["port"] = port
    engine = raw["applications"][0]["args"]["engine"]
    engine |= {"model": str(ROOT / ".models/target-30m"), "draft": str(ROOT / "models/draft"), "kv_cache_gib": 0.25}
    engine |= {"served_model_name": MODEL, "max_num_seqs": 8}
    file = tmp_path_factory.mktemp("service") / "config.yaml"
    spans = str(file.parent / "{service}.jsonl")
    raw["applications"][0]["args"]["tracing"] = {"exporter": "file", "file": spans, "every_s": 0.1}
    file.write_text(yaml.safe_dump(raw))
    server = Server(["serve", "run", str(file)], port, MODEL, {})
    with server, server.awake():
        yield server


@pytest.fixture
def client(service: Server) -> openai.OpenAI:
    return openai.OpenAI(
        api_key="unused", base_url=f"{service.url}/v1", max_retries=8
    )  # ready again a moment after the fixture woke it


def test_completion_with_usage_and_n(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=8, n=2, temperature=0.8, seed=1)
    assert [c.index for c in answer.choices] == [0, 1]
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 16


def test_a_seed_repeats_itself(client: openai.OpenAI) -> None:
    texts = [
        client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=8, temperature=1, seed=7).choices[0].text
        for _ in range(2)
    ]
    assert texts[0] == texts[1]


def test_a_stream_says_what_the_whole_answer_says_and_ends_with_usage(client: openai.OpenAI) -> None:
    whole = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=12, temperature=0)
    stream = client.completions.create(
        model=MODEL, prompt=PROMPT, max_tokens=12, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    told = [
        {k: v for k, v in usage.to_dict().items() if k.endswith("_tokens")} for usage in (chunks[-1].usage, whole.usage)
    ]
    assert told[0] == told[1]
    assert all(usage.to_dict()["adaspec"] for usage in (chunks[-1].usage, whole.usage))


def test_chat_and_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": PROMPT}],
        max_tokens=4,
        temperature=0,
        logprobs=True,
        top_logprobs=2,
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in logprobs.content)


def test_stop_ends_the_text_before_it(client: openai.OpenAI) -> None:
    text = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=12, temperature=0).choices[0].text
    stop = text[len(text) // 2 :][:3]
    stopped = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=12, temperature=0, stop=stop)
    assert stopped.choices[0].text == text[: text.index(stop)]
    assert stopped.choices[0].finish_reason == "stop"


def test_a_json_schema_is_kept(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": PROMPT}],
        max_tokens=32,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
    )
    said = "".join((answer.choices[0].message.content or "").split())
    assert len(said) >= len('{"n"')  # the demo model may spend its tokens on the white space that JSON allows
    assert any(whole.startswith(said) for whole in ('{"n":1}', '{"n":2}'))


@pytest.mark.parametrize(
    ("given", "status"), [({"model": "other"}, 404), ({"max_tokens": 10**6}, 400), ({"temperature": -1}, 400)]
)
def test_vllms_own_errors_arrive_with_their_status(service: Server, given: dict[str, Any], status: int) -> None:
    answer = httpx.post(f"{service.url}/v1/completions", json={"model": MODEL, "prompt": PROMPT} | given, timeout=60)
    assert answer.status_code == answer.json()["error"]["code"] == status


def test_metrics_count_speculation_by_replica(service: Server) -> None:
    text = httpx.get(f"{service.url}/metrics", timeout=60).text
    assert 'vllm:spec_decode_num_draft_tokens_total{replica="' in text
    assert "adaspec_reloads_total" in text


def test_a_trace_says_what_became_of_a_requests_drafts(service: Server) -> None:
    body = {"model": MODEL, "prompt": PROMPT, "max_tokens": 40, "temperature": 0, "ignore_eos": True}
    answer = httpx.post(f"{service.url}/v1/completions", json=body, headers=SAMPLED, timeout=60).json()
    folder = Path(service.command[-1]).parent
    spans = eventually(lambda: (seen := asked_for(folder)).keys() >= {"queueing", "prefill", "decode"} and seen)
    said = spans["decode"]["attributes"]
    assert said["gen_ai.usage.output_tokens"] == answer["usage"]["completion_tokens"] == 40
    assert said["adaspec.policy"] == "slo_goodput"
    assert said["adaspec.drafted_tokens"] >= said["adaspec.verified_tokens"] >= said["adaspec.accepted_tokens"]
    assert spans["prefill"]["attributes"]["gen_ai.usage.input_tokens"] == answer["usage"]["prompt_tokens"]
    assert spans["queueing"]["end_time"] <= spans["prefill"]["end_time"] <= spans["decode"]["end_time"]


def test_a_policy_deployed_in_the_middle_of_a_stream_is_live_at_once(service: Server, client: openai.OpenAI) -> None:
    """Its first feedback is of drafts that the one before had planned, without the features it needs itself."""
    deploy(service, {"name": "fixed", "params": {"k": 1}})
    before = policy(service)
    stream = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=400, temperature=0, stream=True)
    next(stream)
    deploy(service, {"name": "slo_goodput", "params": {}})
    assert policy(service)["replica"] == before["replica"]
    assert len(list(stream)) > 1
    assert not [kind for kind in report(service)["fallbacks"] if kind.startswith("raised")]


def test_an_objective_is_echoed_with_what_was_achieved_and_reaches_the_policy(service: Server) -> None:
    say = {"name": "tests.local.objectives:say"}
    deploy(service, say)
    asked = {"model": MODEL, "prompt": PROMPT, "max_tokens": 8, "temperature": 0}
    headers = {"x-slo-class": "interactive", "x-slo-tpot-ms": "3700"}
    answer = httpx.post(f"{service.url}/v1/completions", json=asked, headers=headers, timeout=60).json()
    told = answer["usage"]["adaspec"]
    assert (told["slo_class"], told["tpot_slo_ms"], told["attained"]) == ("interactive", 3700, True)
    assert told["ttft_ms"] > 0
    assert told["tpot_ms"] > 0
    deadline = time.monotonic() + 60
    while "3700 ms" not in report(service)["reasons"]:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("path", GENERATE)
def test_no_request_made_from_the_schema_is_lost(service: Server, path: str) -> None:
    with elsewhere(service.url) as asked:
        tried = run(asked, path, 20)
    assert tried.lost == []
    assert tried.statuses[200] > 0


def test_no_request_beyond_the_schema_is_lost(service: Server) -> None:
    said = []
    for given in EXTREMES:
        body = {"model": MODEL, "prompt": PROMPT, "max_tokens": 4} | given
        answer = httpx.post(f"{service.url}/v1/completions", json=body, timeout=60)
        if answer.status_code >= 500 or (answer.status_code >= 400 and not shaped(answer)):
            said.append(f"{given}: {answer.status_code} {answer.text[:200]}")
    assert said == []
    assert httpx.post(f"{service.url}/v1/completions", json={"prompt": PROMPT}, timeout=60).status_code == 200


async def test_answers_are_those_of_plain_decoding_while_the_policy_changes(service: Server) -> None:
    """Few of them; `python -m tests.faults.lossless` compares a thousand."""
    wanted, compared = cases(MODEL, prompts=1, tokens=16), Compared()
    async with httpx.AsyncClient(base_url=service.url, timeout=120) as http:
        deploy(service, {"name": "off"})
        references = await answers(http, wanted, 1)
        deploy(service, {"name": "tests.engine.planted:Ragged"})
        swap = asyncio.create_task(asyncio.to_thread(deploy, service, {"name": "fixed", "params": {"k": 3}}))
        while not swap.done():
            for got in zip(wanted, await answers(http, wanted, 6), references, strict=True):
                compare(*got, compared)
    assert compared.tried >= len(wanted)
    assert compared.said == []
    assert report(service)["accepted_tokens"] > 0


def policy(service: Server) -> dict[str, Any]:
    (found,) = httpx.get(f"{service.url}/v1/policy", timeout=60).json()["replicas"]
    return dict(found)


def deploy(service: Server, spec: dict[str, Any]) -> None:
    file = Path(service.command[-1])
    raw = yaml.safe_load(file.read_text())
    raw["applications"][0]["deployments"][-1]["user_config"]["policy"] = spec
    file.write_text(yaml.safe_dump(raw))
    subprocess.run(["serve", "deploy", str(file)], check=True, capture_output=True)
    deadline = time.monotonic() + 120  # a hang, not a slow machine
    while policy(service)["policy"]["name"] != spec["name"]:
        assert time.monotonic() < deadline


def report(service: Server) -> dict[str, Any]:
    (found,) = httpx.get(f"{service.url}/v1/replicas", timeout=10).json()["replicas"]
    return dict(found["status"]["report"])
