"""The draft's KV cache after steps at K = 0: with draft = target in float32 every draft must be accepted."""

from pathlib import Path
from typing import Any

import pytest
from vllm import LLM, SamplingParams

from tests.engine import random_llama
from tests.engine.engines import adaptive, report, set_policy

OPTIONS: dict[str, Any] = {
    "max_model_len": 1024,
    "max_num_seqs": 8,
    "block_size": 32,
    "max_num_batched_tokens": 256,
    "skip_tokenizer_init": True,
}
OFF_STEPS = 200


def acceptance(llm: LLM, prompt: dict[str, list[int]], tokens: int) -> float:
    before = report(llm)
    llm.generate([prompt], SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True), use_tqdm=False)
    after = report(llm)
    reached = sum(after["reached_at"]) - sum(before["reached_at"])
    assert reached > 50
    return float((after["accepted_tokens"] - before["accepted_tokens"]) / reached)


def policy_then(llm: LLM, off_first: bool) -> float:
    """Acceptance of one request that decodes `OFF_STEPS` steps at K = 0 in the middle."""
    set_policy(llm, "tests.engine.off_between:OffBetween", first=10, off=OFF_STEPS + 8 if off_first else 0)
    start = 100 if off_first else 200  # another text: the same one would find its old keys in the blocks it gets again
    return acceptance(llm, {"prompt_token_ids": list(range(start, start + 16))}, 600)


@pytest.mark.parametrize("catch_up", [True, False])
def test_acceptance_after_plain_decoding(catch_up: bool, tmp_path: Path) -> None:
    random_llama.write(tmp_path)
    with adaptive(tmp_path, tmp_path, settings={"catch_up": catch_up}, **OPTIONS) as llm:
        assert policy_then(llm, off_first=False) >= 0.999
        assert report(llm)["k_steps"].get("0", 0) < 10
        resumed = policy_then(llm, off_first=True)
        assert report(llm)["k_steps"]["0"] >= OFF_STEPS
        written_off = written_at_zero(llm)
    if catch_up:
        assert resumed >= 0.999
        assert written_off >= 0.999
    else:  # the control: what the catch-up is for
        assert resumed < 0.2
        assert written_off < 0.2


def written_at_zero(llm: LLM) -> float:
    """Acceptance of a request whose whole context was cached by another one that decoded at K = 0."""
    prompt = {"prompt_token_ids": list(range(300, 364))}
    set_policy(llm, "off")
    (done,) = llm.generate([prompt], SamplingParams(temperature=0, max_tokens=400, ignore_eos=True), use_tqdm=False)
    set_policy(llm, "fixed", k=3)
    return acceptance(llm, {"prompt_token_ids": prompt["prompt_token_ids"] + list(done.outputs[0].token_ids)}, 200)
