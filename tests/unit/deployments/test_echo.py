import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deployments.door_metrics import DoorMetrics
from deployments.echo import Echo
from deployments.settings import SloClass

SPECULATION = {"speculative_decoding": {"num_draft_tokens": 6, "num_accepted_draft_tokens": 4}}


def event(**body: Any) -> bytes:
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def token(text: str, finish: str | None = None) -> bytes:
    return event(choices=[{"index": 0, "text": text, "finish_reason": finish}])


USAGE = event(choices=[], usage={"completion_tokens": 3}, metrics=SPECULATION)
DONE = b"data: [DONE]\n\n"


async def streamed(echo: Echo, *parts: bytes) -> list[Any]:
    async def rest() -> AsyncIterator[bytes]:
        for part in parts[1:]:
            yield part

    text = b"".join([part async for part in echo.stream(parts[0], rest())])
    return [json.loads(e[6:]) if e != DONE.strip() else "DONE" for e in text.split(b"\n\n") if e]


def echo(metrics: DoorMetrics, *, usage: bool, **slo: Any) -> Echo:
    return Echo(SloClass(name="c", **slo), metrics, 1, usage_wanted=usage)


async def test_a_stream_that_asked_for_usage_gets_it_there() -> None:
    metrics = DoorMetrics()
    said = await streamed(echo(metrics, usage=True, ttft_ms=1e4), token("a"), token("b", "stop"), USAGE, DONE)
    assert [len(e["choices"]) for e in said[:-1]] == [1, 1, 0]
    told = said[-2]["usage"]["adaspec"]
    assert (told["slo_class"], told["ttft_slo_ms"], told["attained"]) == ("c", 1e4, True)
    assert (told["drafted_tokens"], told["accepted_tokens"]) == (6, 4)
    assert said[-1] == "DONE"
    assert metrics.counts["c"] == {"finished": 1, "attained": 1}


async def test_a_stream_that_did_not_gets_no_empty_event_and_the_figures_in_its_last() -> None:
    said = await streamed(echo(DoorMetrics(), usage=False), token("a"), token("b", "length"), USAGE, DONE)
    assert [e["choices"][0]["text"] for e in said[:-1]] == ["a", "b"]
    assert "usage" not in said[1]
    assert said[1]["adaspec"]["tpot_ms"] >= 0
    assert said[-1] == "DONE"


async def test_several_choices_finish_one_after_the_other() -> None:
    said = await streamed(echo(DoorMetrics(), usage=False), token("a", "stop"), token("b"), token("c", "stop"), USAGE)
    assert [e["choices"][0]["text"] for e in said] == ["a", "b", "c"]
    assert ["adaspec" in e for e in said] == [False, False, True]


async def test_parts_may_cut_events_and_hold_several() -> None:
    whole = token("a") + token("b", "stop") + USAGE + DONE
    cut = [whole[:7], whole[7:60], whole[60:]]
    assert (await streamed(echo(DoorMetrics(), usage=False), *cut))[-1] == "DONE"


async def test_a_broken_stream_is_passed_on_and_has_not_attained() -> None:
    metrics = DoorMetrics()
    said = await streamed(echo(metrics, usage=True), token("a"), event(error={"code": 500}))
    assert said[-1] == {"error": {"code": 500}}
    assert metrics.counts["c"] == {"finished": 1}


async def test_text_that_looks_like_the_end_is_not_the_end() -> None:
    trap = token('"finish_reason":"stop" "usage":{ "choices":[]')
    said = await streamed(echo(DoorMetrics(), usage=False), trap, token("b", "stop"), USAGE, DONE)
    assert len(said) == 3


@pytest.mark.parametrize(
    ("times", "slo", "attained"),
    [
        ({"time_to_first_token_ms": 40, "mean_itl_ms": 9}, {"ttft_ms": 50, "tpot_ms": 10}, True),
        ({"time_to_first_token_ms": 60, "mean_itl_ms": 9}, {"ttft_ms": 50, "tpot_ms": 10}, False),
        ({"time_to_first_token_ms": 40, "mean_itl_ms": 11}, {"ttft_ms": 50, "tpot_ms": 10}, False),
        ({"time_to_first_token_ms": 40}, {"ttft_ms": 50, "tpot_ms": 10}, True),  # one token has no TPOT
        ({}, {"ttft_ms": 50}, False),  # unknown
        ({}, {}, True),
    ],
)
async def test_a_whole_answer_has_the_engines_times(
    times: dict[str, float], slo: dict[str, float], attained: bool
) -> None:
    body = json.dumps({"choices": [], "usage": {"completion_tokens": 3}, "metrics": times | SPECULATION}).encode()
    told = json.loads(echo(DoorMetrics(), usage=True, **slo).whole(body))["usage"]["adaspec"]
    assert told["attained"] is attained
    assert told["tpot_ms"] == times.get("mean_itl_ms")
    assert told["accepted_tokens"] == 4


async def test_the_time_between_tokens_is_that_of_one_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM counts the tokens of all prompts and choices together."""
    times_s = iter([0.0, 0.0, 1.0, 2.0, 3.0, 3.0, 3.0])
    monkeypatch.setattr("deployments.echo._now_s", lambda: next(times_s, 3.0))
    four = Echo(SloClass(name="c", tpot_ms=600), DoorMetrics(), 4, usage_wanted=True)
    four.sent()
    usage = event(choices=[], usage={"completion_tokens": 12}, metrics={})
    said = await streamed(four, token("a"), token("b", "stop"), usage, DONE)
    told = said[-2]["usage"]["adaspec"]
    assert told["tpot_ms"] == pytest.approx(1000)  # 3 tokens a sequence: two gaps in two seconds
    assert told["attained"] is False
