"""Train the target on the encoded corpus by next-token loss; `fit` is also the loop the distillation uses.

The learning rate and the sequence length follow the share of the time budget that is spent (checkpoints keep it, so a
resumed run goes on where it was): linear warm-up, cosine to zero, and the last part at the full context.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

CONTEXT_TOKENS = 2048
SHORT_TOKENS = 512
Loss = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Stream:
    """Tokens to draw windows from; a window starts at a multiple of `stride_tokens`."""

    tokens: np.ndarray
    stride_tokens: int = 1

    def window(self, random: np.random.Generator, length: int) -> np.ndarray:
        """`length` + 1 tokens, int64."""
        places = (len(self.tokens) - length - 1) // self.stride_tokens
        start = int(random.integers(places)) * self.stride_tokens
        return self.tokens[start : start + length + 1].astype(np.int64)


@dataclass(frozen=True)
class Options:
    """One training run; `minutes` is optimisation time, pauses not counted."""

    directory: Path
    minutes: float
    tokens_per_step: int = 3072
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    warmup_share: float = 0.02
    long_share: float = 0.12
    seed: int = 0
    threads: int = 2
    save_every_s: float = 60.0


@dataclass
class Progress:
    """How far a run is; stored in its checkpoint."""

    step: int = 0
    tokens: int = 0
    spent_s: float = 0.0


def network(hidden: int, intermediate: int, layers: int) -> LlamaForCausalLM:
    """A randomly initialised Llama with tied embeddings and heads of 64."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=4096,
            hidden_size=hidden,
            intermediate_size=intermediate,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 64,
            num_key_value_heads=hidden // 64,
            max_position_embeddings=CONTEXT_TOKENS,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=1,
        )
    )


def optimisers(model: LlamaForCausalLM, options: Options) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding and the norms (Jordan et al. 2024)."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    matrices = [p for n, p in named if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in named if p.ndim != 2 or "embed" in n]
    decay, rate = options.weight_decay, options.learning_rate
    muon = torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)]


def rate_at(share: float, options: Options) -> float:
    """Learning rate after `share` of the budget: linear warm-up, cosine to zero."""
    if share < options.warmup_share:
        return options.learning_rate * (share / options.warmup_share + 0.01)
    rest = (share - options.warmup_share) / (1 - options.warmup_share)
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))


def batch(streams: list[Stream], step: int, length: int, options: Options) -> torch.Tensor:
    """Random windows, shape (rows, length + 1); the streams take turns, row by row and step by step."""
    random = np.random.default_rng((options.seed, step))
    rows = max(1, options.tokens_per_step // length)
    windows = [streams[(step + row) % len(streams)].window(random, length) for row in range(rows)]
    return torch.from_numpy(np.stack(windows))


def next_token_loss(model: LlamaForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of each token given those before it; `ids` has shape (rows, length)."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def save(model: LlamaForCausalLM, opts: list[torch.optim.Optimizer], progress: Progress, path: Path) -> None:
    """Write the checkpoint so that a killed run leaves the old or the new one, never half."""
    state = {"model": model.state_dict(), "optimisers": [o.state_dict() for o in opts], "progress": asdict(progress)}
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def resume(model: LlamaForCausalLM, opts: list[torch.optim.Optimizer], path: Path) -> Progress:
    """Load the checkpoint at `path` into model and optimisers; a fresh start where there is none."""
    if not path.exists():
        return Progress()
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for optimiser, saved in zip(opts, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved)
    return Progress(**state["progress"])


def fit(model: LlamaForCausalLM, loss_of: Loss, streams: list[Stream], options: Options) -> Progress:
    """Train until the budget is spent; checkpoint to `options.directory`, resume from it, print time left."""
    torch.set_num_threads(options.threads)
    options.directory.mkdir(parents=True, exist_ok=True)
    path = options.directory / "checkpoint.pt"
    opts = optimisers(model, options)
    progress = resume(model, opts, path)
    budget_s, saved_s, shown = options.minutes * 60, progress.spent_s, 0.0
    while (share := progress.spent_s / budget_s) < 1:
        started = time.monotonic()
        for optimiser in opts:
            for group in optimiser.param_groups:
                group["lr"] = rate_at(share, options)
        length = SHORT_TOKENS if share < 1 - options.long_share else CONTEXT_TOKENS
        ids = batch(streams, progress.step, length, options)
        loss = loss_of(ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in opts:
            optimiser.step()
            optimiser.zero_grad()
        progress.step += 1
        progress.tokens += ids[:, 1:].numel()
        progress.spent_s += time.monotonic() - started
        shown = 0.95 * shown + 0.05 * loss.item() if shown else loss.item()
        if progress.step % 20 == 0:
            speed, left = progress.tokens / progress.spent_s, (budget_s - progress.spent_s) / 60
            print(f"step {progress.step} loss {shown:.3f} {speed:.0f} tokens/s {left:.1f} min left", flush=True)
        if progress.spent_s - saved_s > options.save_every_s:
            save(model, opts, progress, path)
            saved_s = progress.spent_s
    save(model, opts, progress, path)
    return progress


def export(model: LlamaForCausalLM, progress: Progress, out: Path) -> None:
    """Write the model in Hugging Face format, with what the run was in `run.json`."""
    model.save_pretrained(out)
    (out / "run.json").write_text(json.dumps(asdict(progress), indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Train the target and export it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="directory of the encoded corpus")
    parser.add_argument("--out", type=Path, required=True, help="checkpoints and the trained model")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    model = network(hidden=256, intermediate=768, layers=4)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    options = Options(directory=args.out, minutes=args.minutes, seed=args.seed)
    progress = fit(model, lambda ids: next_token_loss(model, ids), [Stream(np.load(args.work / "train.npy"))], options)
    export(model, progress, args.out / "model")


if __name__ == "__main__":
    main()
