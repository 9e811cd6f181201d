"""Distil the draft from the trained target: KL to its soft labels plus cross-entropy to its greedy token.

Half of each batch is corpus text, half the target's own greedy continuations of training text (on-policy data: the
draft is asked for tokens on the target's path, not on the corpus'). The draft is a network of its own; it starts from
copies of the target's embedding and of two of its layers and is trained from there. Run: `python -m models.distill`.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

from models.train import Options, Stream, export, fit, network

PROMPT_TOKENS = 128
ROLLOUT_TOKENS = 512  # prompt included
HARD_LABEL_WEIGHT = 0.3


@torch.inference_mode()
def rollouts(target: LlamaForCausalLM, prompts: torch.Tensor, new_tokens: int) -> torch.Tensor:
    """Greedy continuations of equally long prompts: shape (rows, prompt + new_tokens); end-of-text is not taken."""
    return target.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        do_sample=False,
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
    )


def own_text(target: LlamaForCausalLM, text: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """`rows` continuations of random training windows, shape (rows * ROLLOUT_TOKENS,)."""
    starts = np.random.default_rng(seed).integers(len(text) - PROMPT_TOKENS, size=rows)
    prompts = np.stack([text[start : start + PROMPT_TOKENS].astype(np.int64) for start in starts])
    parts: list[np.ndarray] = [
        rollouts(target, torch.from_numpy(part), ROLLOUT_TOKENS - PROMPT_TOKENS).numpy()
        for part in np.array_split(prompts, max(1, rows // 64))
    ]
    continued: np.ndarray = np.concatenate(parts)
    return continued.astype(np.uint16).reshape(-1)


def student(target: LlamaForCausalLM, layers: int) -> LlamaForCausalLM:
    """A draft of `layers` layers as wide as the target, started from its embedding and evenly spaced layers of it."""
    config = target.config
    draft = network(config.hidden_size, config.intermediate_size, layers)
    draft.model.embed_tokens.load_state_dict(target.model.embed_tokens.state_dict())
    draft.model.norm.load_state_dict(target.model.norm.state_dict())
    sources = torch.linspace(0, config.num_hidden_layers - 1, layers).round().int().tolist()
    for layer, source in zip(draft.model.layers, sources, strict=True):
        layer.load_state_dict(target.model.layers[source].state_dict())
    return draft


def distillation_loss(draft: LlamaForCausalLM, target: LlamaForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    """KL(target || draft) + HARD_LABEL_WEIGHT * CE(argmax target, draft), per token (Hinton et al. 2015)."""
    with torch.no_grad():
        wanted = target(input_ids=ids[:, :-1], use_cache=False).logits.flatten(0, 1)
    given = draft(input_ids=ids[:, :-1], use_cache=False).logits.flatten(0, 1).log_softmax(-1)
    soft = functional.kl_div(given, wanted.log_softmax(-1), reduction="batchmean", log_target=True)
    return soft + HARD_LABEL_WEIGHT * functional.nll_loss(given, wanted.argmax(-1))


def main() -> None:
    """Generate on-policy text once, distil, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="directory of the encoded corpus")
    parser.add_argument("--target", type=Path, required=True, help="the trained target")
    parser.add_argument("--out", type=Path, required=True, help="checkpoints and the trained draft")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rollouts", type=int, default=1024, help="on-policy continuations to train on")
    parser.add_argument("--own-text-only", action="store_true", help="write the continuations and stop")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    target = LlamaForCausalLM.from_pretrained(args.target).eval()
    text = np.load(args.work / "train.npy")
    args.out.mkdir(parents=True, exist_ok=True)
    own = args.out / "own_text.npy"
    if not own.exists():
        np.save(own, own_text(target, text, args.rollouts, args.seed))
    if args.own_text_only:
        return
    draft = student(target, args.layers)
    print(f"{sum(p.numel() for p in draft.parameters()):,} parameters", flush=True)
    streams = [Stream(text), Stream(np.load(own), ROLLOUT_TOKENS)]
    options = Options(directory=args.out, minutes=args.minutes, seed=args.seed, learning_rate=2e-3)
    progress = fit(draft, lambda ids: distillation_loss(draft, target, ids), streams, options)
    export(draft, progress, args.out / "model")


if __name__ == "__main__":
    main()
