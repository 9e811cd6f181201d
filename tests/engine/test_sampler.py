from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from vllm.v1.spec_decode.metadata import SpecDecodeMetadata
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

from deployments.engine.sampler import PlainWhenUndrafted, UndraftedMetadata

LOGITS = torch.zeros(2, 3)


class Recorder(torch.nn.Module):
    """Stands in for vLLM's rejection sampler and the plain sampler inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Any]] = []

    def sampler(self, **inputs: Any) -> str:
        self.calls.append(("plain", inputs))
        return "plain"

    def forward(self, *inputs: Any) -> str:
        self.calls.append(("verify", inputs))
        return "verified"


def sample(drafts: int) -> tuple[Any, Recorder]:
    inner = Recorder()
    metadata: Any = SimpleNamespace(max_spec_len=drafts)
    parameters: Any = "parameters"
    return PlainWhenUndrafted(inner)(metadata, None, LOGITS, parameters), inner


def test_without_drafts_the_plain_sampler_samples() -> None:
    sampled, inner = sample(drafts=0)
    assert sampled == "plain"
    assert inner.calls == [("plain", {"logits": LOGITS, "sampling_metadata": "parameters"})]


def test_with_drafts_the_rejection_sampler_gets_everything() -> None:
    sampled, inner = sample(drafts=2)
    assert sampled == "verified"
    ((name, (metadata, probs, logits, parameters)),) = inner.calls
    assert (name, metadata.max_spec_len, probs, parameters) == ("verify", 2, None, "parameters")
    assert logits is LOGITS


class Runner:
    """As much of vLLM's runner as the index arithmetic of drafts reads."""

    device = torch.device("cpu")
    arange_np = np.arange(512)
    _arange_scratch = np.zeros(512, np.int64)
    input_ids = SimpleNamespace(gpu=torch.arange(1000, 1512, dtype=torch.int32))
    _get_cumsum_and_arange = GPUModelRunner._get_cumsum_and_arange
    _calc_spec_decode_metadata = GPUModelRunner._calc_spec_decode_metadata


@pytest.mark.parametrize(
    ("drafts", "ends"),
    [([0], [1]), ([0, 0, 0], [1, 2, 3]), ([0, 0, 0], [7, 8, 208]), ([3, 0, 2], [4, 104, 107]), ([0, 1], [9, 11])],
)
def test_a_step_without_drafts_has_the_indices_vllm_computes(drafts: list[int], ends: list[int]) -> None:
    runner: Any = Runner()
    mine, given = UndraftedMetadata(runner), (np.array(drafts, np.int32), np.array(ends, np.int32))
    for _ in range(2):  # kept from the first time
        found: SpecDecodeMetadata = mine(*given)
        expected = runner._calc_spec_decode_metadata(*given)
        assert found.max_spec_len == expected.max_spec_len
        for field in fields(SpecDecodeMetadata):
            a, b = getattr(found, field.name), getattr(expected, field.name)
            assert (torch.equal(a, b) and a.dtype == b.dtype) if torch.is_tensor(a) else a == b, field.name
