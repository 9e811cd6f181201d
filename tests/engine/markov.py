"""Tiny first-order Markov language models in Llama form, so that a whole engine's output has a known distribution.

One-hot embeddings, attention and MLP that add nothing, and an output layer that holds the transition logits: the next
token depends on the present one only.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM

TOKENS = 16
HIDDEN = 64
Table = NDArray[np.float64]


def tables(seed: int = 0) -> tuple[Table, Table]:
    """Transition logits [from, to] of target and draft. The draft's certainty depends on the token it comes from."""
    random = np.random.default_rng(seed)
    target = random.normal(0.0, 1.2, (TOKENS, TOKENS))
    certainty = np.linspace(0.3, 3.0, TOKENS)[:, None]
    draft = certainty * (0.7 * target + random.normal(0.0, 0.6, (TOKENS, TOKENS)))
    return target, draft


def write(path: Path, logits: Table) -> None:
    """A Llama checkpoint whose next-token logits after token i are `logits[i]`."""
    config = LlamaConfig(
        vocab_size=TOKENS,
        hidden_size=HIDDEN,
        intermediate_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        layer = model.model.layers[0]
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(TOKENS, HIDDEN))
        scale = (1.0 / HIDDEN + config.rms_norm_eps) ** 0.5  # the final norm's divisor for a one-hot state
        model.lm_head.weight.zero_()
        model.lm_head.weight[:, :TOKENS] = torch.from_numpy(logits.T * scale).float()
    model.save_pretrained(path)


def chi_square(counts: Table, logits: Table, temperature: float) -> tuple[float, int]:
    """Statistic and degrees of freedom of transition counts [from, to] against softmax(logits / temperature).

    Cells expecting fewer than 5 are pooled per row, as the approximation needs.
    """
    scaled = logits / temperature
    p = np.exp(scaled - scaled.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    statistic, freedom = 0.0, 0
    for seen, expected in zip(counts, p * counts.sum(1, keepdims=True), strict=True):
        small = expected < 5
        observed = np.append(seen[~small], seen[small].sum())
        wanted = np.append(expected[~small], expected[small].sum())
        keep = wanted > 0
        statistic += float(((observed[keep] - wanted[keep]) ** 2 / wanted[keep]).sum())
        freedom += max(int(keep.sum()) - 1, 0)
    return statistic, freedom
