"""Temperature 0 in float32: token for token what vLLM without speculation writes, under every policy."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from vllm import LLM, SamplingParams

from policies.registry import CONTROLLERS
from tests.engine.engines import DRAFT, ROOT, TARGET, adaptive, report, set_policy, stock

MAX_MODEL_LEN = 512
OPTIONS: dict[str, Any] = {
    "max_model_len": MAX_MODEL_LEN,
    "max_num_seqs": 24,
    "max_num_batched_tokens": 192,  # prompts are longer: prefill runs in chunks, mixed with decoding
    "num_gpu_blocks_override": 40,  # too few for what is admitted to grow: some are preempted and recomputed
    "enable_prefix_caching": True,
    "block_size": 32,
}
INNER = {"name": "slo_goodput", "params": {}}
POLICIES: dict[str, dict[str, Any]] = {
    **{name: {} for name in CONTROLLERS if name not in ("probed", "steady")},
    "probed": {"every": 8, "policy": INNER},
    "steady": {"policy": INNER},
    "tests.engine.planted:Ragged": {},
}


def requests() -> list[tuple[dict[str, str], SamplingParams]]:
    """24 held-out prompts of different lengths, every other one under the same header; one runs into the edge."""
    lines = (ROOT / "models" / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    header, *prompts = [json.loads(line)["prompt"] for line in lines[::12]]
    prompts = [header + "\n" + p if i % 2 else p for i, p in enumerate(prompts[:24])]
    lengths = [24 + 3 * i for i in range(23)] + [MAX_MODEL_LEN]
    return [
        ({"prompt": p}, SamplingParams(temperature=0, max_tokens=n, ignore_eos=True))
        for p, n in zip(prompts, lengths, strict=True)
    ]


def generate(llm: LLM) -> list[list[int]]:
    prompts, params = zip(*requests(), strict=True)
    outputs = llm.generate(list(prompts), list(params), use_tqdm=False)
    *inside, last = [len(o.prompt_token_ids or ()) + len(o.outputs[0].token_ids) for o in outputs]
    assert last == MAX_MODEL_LEN > max(inside)
    return [list(o.outputs[0].token_ids) for o in outputs]


@pytest.fixture(scope="module")
def plain() -> list[list[int]]:
    with stock(TARGET, **OPTIONS) as llm:
        return generate(llm)


@pytest.fixture(scope="module")
def engine() -> Iterator[LLM]:
    with adaptive(TARGET, DRAFT, **OPTIONS) as llm:
        yield llm


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_writes_what_plain_decoding_writes(engine: LLM, plain: list[list[int]], policy: str) -> None:
    set_policy(engine, policy, **POLICIES[policy])
    before = report(engine)
    assert generate(engine) == plain
    after = report(engine)
    assert not after["fallbacks"]
    for what in ("preemptions", "prefix_hit_tokens", "prompt_chunks"):  # under each policy, not only somewhere
        assert after[what] > before[what], what


def test_lengths_and_k_differed_and_the_draft_was_caught_up(engine: LLM, plain: list[list[int]]) -> None:
    set_policy(engine, "tests.engine.planted:Ragged")
    before = report(engine)
    assert generate(engine) == plain
    after = report(engine)
    assert after["catch_up_tokens"] > before["catch_up_tokens"]
    assert after["verified_tokens"] - before["verified_tokens"] < after["drafted_tokens"] - before["drafted_tokens"]
    assert len({k for k, n in after["k_steps"].items() if n > before["k_steps"].get(k, 0)}) > 2


def test_a_seed_draws_nothing_while_its_prompt_comes_in_chunks(engine: LLM) -> None:
    """In chunks at first; then from the prefix cache, in one step. On a CPU, stock vLLM 0.32 does not survive it."""
    set_policy(engine, "off")
    prompt = {"prompt_token_ids": [5 + i % 97 for i in range(400)]}
    wanted = SamplingParams(temperature=1, seed=11, max_tokens=24, ignore_eos=True)
    chunks = [report(engine)["prompt_chunks"]]
    tokens = []
    for _ in range(2):
        (output,) = engine.generate([prompt], [wanted], use_tqdm=False)
        tokens.append(output.outputs[0].token_ids)
        chunks.append(report(engine)["prompt_chunks"])
    assert chunks[1] - chunks[0] > chunks[2] - chunks[1]
    assert tokens[0] == tokens[1]
