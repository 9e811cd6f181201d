"""A draft model that raises costs speed, never a request."""

from collections.abc import Iterator
from typing import Any

import pytest
from vllm import LLM, SamplingParams

from tests.engine.engines import DRAFT, TARGET, adaptive, report, set_policy

PROMPTS = ["def fibonacci(n):\n", "import os\n\n\ndef read(path):\n", "class Stack:\n"]


@pytest.fixture(scope="module")
def engine() -> Iterator[LLM]:
    with adaptive(TARGET, DRAFT, worker_cls="tests.engine.planted.PlantedWorker", max_model_len=256) as llm:
        yield llm


def generate(llm: LLM) -> list[list[int]]:
    params = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
    return [list(o.outputs[0].token_ids) for o in llm.generate(PROMPTS, params, use_tqdm=False)]


def drafted(before: dict[str, Any], after: dict[str, Any]) -> int:
    return int(after["drafted_tokens"] - before["drafted_tokens"])


def test_decoding_goes_on_without_the_draft_and_with_it_when_it_works_again(engine: LLM) -> None:
    set_policy(engine, "fixed", k=3)
    wanted, first = generate(engine), report(engine)
    assert first["drafted_tokens"]

    engine.collective_rpc("plant", args=("draft",))
    assert generate(engine) == wanted
    broken = report(engine)
    assert broken["fallbacks"] == {"draft_failed": 1}  # then it is left alone for a while
    assert drafted(first, broken) == 0
    assert broken["policy_state"]["fallback"]

    engine.collective_rpc("plant", args=("",))
    set_policy(engine, "off")
    set_policy(engine, "fixed", k=3)  # a new policy is tried at once
    assert generate(engine) == wanted
    assert drafted(broken, report(engine)) > 0
