"""Grow the trained target in depth and width without changing its function (zero-initialised, as in Net2Net).

The grown network costs what a network of its size costs and answers what the small one answers: new hidden channels
stay zero, new heads and new intermediate units are read by zero columns, new layers write zeros. All other new weights
are random, so the arithmetic is real. Source: Chen et al., "Net2Net" (2016); zero-initialised, so nothing is split.
Run: `python models/grow.py --size 270m --out DIR`.
"""

import argparse
import copy
import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
RECORD = "growth.json"


@dataclass(frozen=True)
class Shape:
    """The size to grow to, in channels and layers."""

    hidden: int
    intermediate: int
    layers: int


SIZES = {"30m": Shape(512, 2048, 7), "270m": Shape(1024, 4096, 16)}


def grown_config(source: LlamaConfig, shape: Shape) -> LlamaConfig:
    """The configuration of the grown network; heads keep their size, so rotary positions do not change.

    Raises ValueError where `shape` is smaller than the source or not a whole number of heads, and for grouped heads.
    """
    head = source.head_dim
    if source.num_key_value_heads != source.num_attention_heads:
        raise ValueError(f"num_key_value_heads={source.num_key_value_heads}: growth needs one key-value head per head")
    now = Shape(source.hidden_size, source.intermediate_size, source.num_hidden_layers)
    if any(new < old for new, old in zip(asdict(shape).values(), asdict(now).values(), strict=True)):
        raise ValueError(f"shape={shape} is smaller than the source {now}: choose a larger one")
    if shape.hidden % head:
        raise ValueError(f"hidden={shape.hidden} is not a multiple of head_dim={head}: choose one that is")
    config = copy.deepcopy(source)
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = asdict(shape).values()
    config.num_attention_heads = config.num_key_value_heads = shape.hidden // head
    config.head_dim = head
    config.rms_norm_eps = source.rms_norm_eps * source.hidden_size / shape.hidden
    return config


def widen(weight: torch.Tensor, new: torch.Tensor, *, silent: bool) -> None:
    """Put `weight` in the corner of `new` (random); `silent` zeroes all else, so that new channels stay zero."""
    if silent:
        new.zero_()
    new[tuple(slice(size) for size in weight.shape)] = weight


@torch.no_grad()
def grow(source: LlamaForCausalLM, shape: Shape, seed: int = 0) -> LlamaForCausalLM:
    """A float32 network of `shape` that computes the same logits as `source`."""
    torch.manual_seed(seed)
    grown = LlamaForCausalLM(grown_config(source.config, shape)).float()
    # RMSNorm averages over all channels: with zeros added, mean and epsilon shrink by old / new, the output grows
    norm_scale = (source.config.hidden_size / shape.hidden) ** 0.5
    weights = source.state_dict()
    for name, new in grown.state_dict().items():
        silent = name.endswith(("embed_tokens.weight", "lm_head.weight", "o_proj.weight", "down_proj.weight"))
        if name not in weights:
            new.mul_(0 if silent else 1)
        else:
            widen(weights[name].float() * (norm_scale if "norm" in name else 1), new, silent=silent)
    return grown.eval()


def recipe(source: Path, size: str, seed: int) -> dict[str, str | int]:
    """What determines the result: an output with the same recipe is not made again."""
    digest = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    return {"source_sha256": digest, "size": size, "seed": seed}


def main() -> None:
    """Grow, save in Hugging Face format, copy the tokenizer; nothing to do where that was done before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, required=True)
    parser.add_argument("--out", type=Path, required=True, help="directory of the grown model")
    parser.add_argument("--source", type=Path, default=Path(__file__).parent / "target")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    wanted, record = recipe(args.source, args.size, args.seed), args.out / RECORD
    if record.exists() and json.loads(record.read_text(encoding="utf-8")) == wanted:
        print(f"{args.out}: already there")
        return
    record.unlink(missing_ok=True)
    model = grow(LlamaForCausalLM.from_pretrained(args.source, dtype=torch.float32), SIZES[args.size], args.seed)
    model.save_pretrained(args.out)
    for name in TOKENIZER_FILES:
        shutil.copy(args.source / name, args.out / name)
    record.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")  # last: its presence means complete
    print(f"{args.out}: {sum(p.numel() for p in model.parameters()):,} parameters")


if __name__ == "__main__":
    main()
