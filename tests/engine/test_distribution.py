"""Temperature > 0: the output distribution is the target's, whatever the policy; three planted mistakes are not."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2
from vllm import LLM, SamplingParams

from tests.engine import markov
from tests.engine.engines import adaptive, one_process, report, set_policy

TRANSITIONS = int(os.environ.get("ADASPEC_TRANSITIONS", "200000"))  # CI bounds its time with fewer
ENOUGH_FOR_A_FAULT = 50_000
REQUESTS, LENGTH = 120, 300
TEMPERATURES = (0.0, 0.7, 1.0)
POLICIES: dict[str, dict[str, Any]] = {
    "off": {},
    "fixed": {"k": 3},
    "confidence": {"threshold": 0.4},
    "tests.engine.planted:PayingAdaSpec": {},
    "tests.engine.planted:PayingSloGoodput": {},
    "tests.engine.planted:Ragged": {},
}


@pytest.fixture(scope="module", params=["greedy", "probabilistic"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    root, (target, draft) = tmp_path_factory.mktemp("markov"), markov.tables()
    markov.write(root / "target", target)
    markov.write(root / "draft", draft)
    with (
        one_process(),  # no messages between processes for each of 200,000 tokens
        adaptive(
            root / "target",
            root / "draft",
            speculative={"draft_sample_method": request.param},
            skip_tokenizer_init=True,
            max_model_len=512,
            max_num_seqs=REQUESTS,
            max_num_batched_tokens=2048,
            worker_cls="tests.engine.planted.PlantedWorker",
            distributed_executor_backend="uni",
        ) as llm,
    ):
        yield llm


def p_value(llm: LLM, transitions: int) -> float:
    """One chi-square over all rows of all sampled temperatures; greedy rows must follow the argmax exactly."""
    logits, _ = markov.tables()
    counts = {t: np.zeros((markov.TOKENS, markov.TOKENS)) for t in TEMPERATURES}
    while sum(c.sum() for t, c in counts.items() if t > 0) < transitions:
        for temperature, tokens in generate(llm):
            np.add.at(counts[temperature], (tokens[:-1], tokens[1:]), 1)
    greedy = counts[0.0]
    assert (greedy.argmax(1) == logits.argmax(1))[greedy.sum(1) > 0].all()
    assert greedy.sum() == greedy.max(1).sum()
    found = [markov.chi_square(counts[t], logits, t) for t in TEMPERATURES if t > 0]
    return float(chi2.sf(sum(s for s, _ in found), sum(f for _, f in found)))


def generate(llm: LLM) -> list[tuple[float, np.ndarray]]:
    """Token sequences by temperature, from a batch that mixes temperatures, prompt lengths and output lengths."""
    prompts = [{"prompt_token_ids": [(i + j) % markov.TOKENS for j in range(1 + i % 9)]} for i in range(REQUESTS)]
    wanted = [
        SamplingParams(
            temperature=TEMPERATURES[i % 8 % 3], max_tokens=LENGTH - 7 * (i % 20), ignore_eos=True, detokenize=False
        )
        for i in range(REQUESTS)
    ]
    outputs = llm.generate(prompts, wanted, use_tqdm=False)
    return [
        (w.temperature, np.array([p["prompt_token_ids"][-1], *o.outputs[0].token_ids]))
        for p, w, o in zip(prompts, wanted, outputs, strict=True)
    ]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_output_distribution_is_the_targets(engine: LLM, policy: str) -> None:
    set_policy(engine, policy, **POLICIES[policy])
    before = report(engine)
    assert p_value(engine, TRANSITIONS) >= 1e-5
    after = report(engine)
    assert not after["fallbacks"], after["fallbacks"]
    if policy != "off":
        assert after["accepted_tokens"] > before["accepted_tokens"]
    else:
        assert after["drafted_tokens"] == before["drafted_tokens"]


@pytest.mark.parametrize("engine", ["probabilistic"], indirect=True)
@pytest.mark.parametrize("fault", ["own_probability", "later_entropy", "wrong_q"])
def test_the_harness_rejects_a_planted_fault(engine: LLM, fault: str) -> None:
    set_policy(engine, "tests.engine.planted:Nosy")
    engine.collective_rpc("plant", args=(fault,))
    try:
        assert p_value(engine, ENOUGH_FOR_A_FAULT) < 1e-5
    finally:
        engine.collective_rpc("plant", args=("",))
