from types import SimpleNamespace
from typing import Any

import torch

from deployments.engine.sampler import PlainWhenUndrafted

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
