import itertools
import json
import time
from typing import Any

import pytest

from loadgen.client import Client, first_model, get
from loadgen.schedule import Planned
from tests.unit.loadgen.conftest import GAP_MS, TTFT_MS
from tests.unit.loadgen.scenarios import scenario


def planned(prompt: str = "p", slo_class: str = "fast", tokens: int = 5) -> Planned:
    return Planned(0, 0.0, slo_class, prompt, tokens)


def client(url: str, **changes: Any) -> Client:
    return Client(url, scenario(**changes), "known", {})


def test_tokens_are_stamped_when_they_come(known_url: str) -> None:
    """Each due at a known time; a reader that waits for a full buffer would report them in a clump at the end."""
    found = client(known_url).send(planned(tokens=12), 0.0, time.perf_counter)
    assert (found.error, found.status, found.prompt_tokens, found.output_tokens) == (None, 200, 7, 12)
    assert found.sent_s is not None
    after_ms = [1e3 * (t - found.sent_s) for t in found.chunks_s]
    assert len(after_ms) == 12
    assert all(ms >= TTFT_MS + i * GAP_MS - 1 for i, ms in enumerate(after_ms))
    assert min(b - a for a, b in itertools.pairwise(after_ms)) < GAP_MS * 1.5
    assert after_ms[0] < after_ms[-1] - 6 * GAP_MS


def test_errors_by_kind(known_url: str) -> None:
    kinds = [client(known_url).send(planned(p), 0.0, time.perf_counter).error for p in ("refuse", "break")]
    assert kinds[0] == "http 429"
    assert kinds[1] in {"connection lost", "HTTPParseError", "cut off"}
    assert client("http://127.0.0.1:9").send(planned(), 0.0, time.perf_counter).error == "refused"


@pytest.mark.parametrize(
    ("slo", "headers"),
    [
        ("budgets", {"x-slo-ttft-ms": "200", "x-slo-tpot-ms": "20"}),
        ("class", {"x-slo-class": "fast"}),
        ("vllm_xargs", {}),
        ("none", {}),
    ],
)
def test_objectives_go_out_as_asked(slo: str, headers: dict[str, str]) -> None:
    sender = client("http://127.0.0.1:9", slo=slo)
    assert {k: v for k, v in sender.headers(planned()).items() if k.startswith("x-slo")} == headers
    asked = {"adaspec_tpot_slo_ms": 20.0} if slo == "vllm_xargs" else None
    assert sender.body(planned()).get("vllm_xargs") == asked
    assert "vllm_xargs" not in sender.body(planned(slo_class="slow"))


def test_a_chat_body() -> None:
    body = client("http://127.0.0.1:9", api="chat", extra_body={"top_k": 1}).body(planned("hello"))
    assert body["messages"] == [{"role": "user", "content": "hello"}]
    assert (body["top_k"], body["stream"], "prompt" in body) == (1, True, False)


def test_asking_the_server(known_url: str) -> None:
    assert first_model(known_url) == "known"
    assert b"vllm:generation_tokens_total" in get(known_url, "/metrics")
    with pytest.raises(OSError, match="404"):
        get(known_url, "/nowhere")
    assert isinstance(json.loads(get(known_url, "/v1/models")), dict)
