"""An EAGLE head through the same adapter: identity, K per step, pruning. Its acceptance is immaterial: it is random."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from vllm import LLM, SamplingParams

from tests.engine.engines import TARGET, adaptive, report, set_policy, stock

PROMPTS = [{"prompt_token_ids": list(range(50 * i + 10, 50 * i + 40 + i))} for i in range(1, 9)]
WANTED = SamplingParams(temperature=0, max_tokens=48, ignore_eos=True)
OPTIONS: dict[str, Any] = {"max_model_len": 256, "max_num_seqs": 8}


def write_head(path: Path) -> None:
    """A one-layer EAGLE head with the target's sizes and random weights."""
    config = json.loads((TARGET / "config.json").read_text(encoding="utf-8"))
    config |= {"architectures": ["EagleLlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 1}
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    torch.manual_seed(0)
    layer = {f"self_attn.{p}_proj": (hidden, hidden) for p in "qkvo"}
    layer |= {"mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner)}
    weights = {f"layers.0.{name}.weight": 0.05 * torch.randn(shape) for name, shape in layer.items()}
    weights["layers.0.post_attention_layernorm.weight"] = torch.ones(hidden)
    weights["fc.weight"] = 0.05 * torch.randn(hidden, 2 * hidden)
    path.mkdir()
    save_file(weights, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    head = tmp_path_factory.mktemp("eagle") / "head"
    write_head(head)
    with adaptive(TARGET, head, speculative={"method": "eagle"}, **OPTIONS) as llm:
        yield llm


@pytest.fixture(scope="module")
def plain() -> list[list[int]]:
    with stock(TARGET, **OPTIONS) as llm:
        return [list(o.outputs[0].token_ids) for o in llm.generate(PROMPTS, WANTED, use_tqdm=False)]


@pytest.mark.parametrize("policy", ["off", "fixed", "confidence", "tests.engine.planted:Ragged"])
def test_an_eagle_head_goes_through_the_same_adapter(engine: LLM, plain: list[list[int]], policy: str) -> None:
    set_policy(engine, policy)
    before = report(engine)
    found = [list(o.outputs[0].token_ids) for o in engine.generate(PROMPTS, WANTED, use_tqdm=False)]
    after = report(engine)
    assert found == plain
    assert (after["drafted_tokens"] > before["drafted_tokens"]) == (policy != "off")
    if policy.endswith("Ragged"):
        assert after["verified_tokens"] - before["verified_tokens"] < after["drafted_tokens"] - before["drafted_tokens"]
        assert len(after["k_steps"]) > 3
