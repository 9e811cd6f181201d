"""Measure the pair on held-out text: next-token loss, greedy acceptance of the draft, calibration of its confidence.

Run: `python -m models.evaluate --work DIR`; writes `evaluation.json` beside this script.
"""

import argparse
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from models.distill import rollouts
from models.heldout import DOMAINS, ROOM

PROMPT_TOKENS = 96
NEW_TOKENS = 96
CONFIDENCE_BINS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
Rows = list[dict[str, str]]
Json = dict[str, object]


@dataclass(frozen=True)
class Agreement:
    """Per token, flat: would the target accept the draft's greedy token, how sure was the draft, both losses."""

    accepted: np.ndarray
    confidence: np.ndarray
    target_loss: np.ndarray
    draft_loss: np.ndarray


class Pair:
    """Target and draft with their tokenizer."""

    def __init__(self, target: Path, draft: Path) -> None:
        self.target = LlamaForCausalLM.from_pretrained(target, dtype=torch.float32).eval()
        self.draft = LlamaForCausalLM.from_pretrained(draft, dtype=torch.float32).eval()
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(target)

    def ids(self, texts: list[str], length: int) -> torch.Tensor:
        """The last `length` tokens of each text that has so many, shape (rows, length)."""
        encoded = [self.tokenizer.encode(text) for text in texts]
        return torch.tensor([ids[-length:] for ids in encoded if len(ids) >= length])

    @torch.inference_mode()
    def agreement(self, ids: torch.Tensor, first: int) -> Agreement:
        """Teacher-forced over `ids`, shape (rows, length); only predictions of tokens `first` and later count."""
        target, draft = (m(input_ids=ids[:, :-1]).logits[:, first - 1 :] for m in (self.target, self.draft))
        wanted = ids[:, first:].flatten()
        losses = [functional.cross_entropy(x.flatten(0, 1), wanted, reduction="none").numpy() for x in (target, draft)]
        confidence, token = draft.softmax(-1).max(-1)
        accepted = (token == target.argmax(-1)).flatten().numpy()
        return Agreement(accepted, confidence.flatten().numpy(), losses[0], losses[1])


def calibration(agreement: Agreement) -> list[Json]:
    """Share accepted by bin of the draft's confidence."""
    table: list[Json] = []
    for low, high in pairwise(CONFIDENCE_BINS):
        inside = (agreement.confidence > low) & (agreement.confidence <= high)
        share = round(float(agreement.accepted[inside].mean()), 3) if inside.any() else None
        table.append({"from": low, "to": high, "tokens": int(inside.sum()), "accepted": share})
    return table


def by_domain(pair: Pair, rows: Rows) -> Json:
    """Losses and acceptance on the reference text, and acceptance on the target's own greedy continuation."""
    text = pair.agreement(pair.ids([r["prompt"] + r["continuation"] for r in rows], 192), PROMPT_TOKENS)
    own_ids = rollouts(pair.target, pair.ids([r["prompt"] for r in rows], PROMPT_TOKENS), NEW_TOKENS)
    own = pair.agreement(own_ids, PROMPT_TOKENS)
    return {
        "prompts": len(rows),
        "target_loss": round(float(text.target_loss.mean()), 3),
        "draft_loss": round(float(text.draft_loss.mean()), 3),
        "acceptance_on_text": round(float(text.accepted.mean()), 3),
        "acceptance_on_rollouts": round(float(own.accepted.mean()), 3),
        "calibration_on_rollouts": calibration(own),
    }


def by_position(pair: Pair, stream: np.ndarray, windows: int = 12, length: int = 2048) -> Json:
    """Losses on `windows` held-out windows of the full context, by position."""
    starts = np.linspace(0, len(stream) - length - 1, windows).astype(int)
    ids = torch.from_numpy(np.stack([stream[s : s + length].astype(np.int64) for s in starts]))
    found = pair.agreement(ids, 1)
    loss = {"target": found.target_loss.reshape(windows, -1), "draft": found.draft_loss.reshape(windows, -1)}
    edges = [0, 128, 512, 1024, 1536, length - 1]
    return {
        name: {f"{a}-{b}": round(float(x[:, a:b].mean()), 3) for a, b in pairwise(edges)} for name, x in loss.items()
    }


def main() -> None:
    """Evaluate the pair (by default the committed one)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="directory of the encoded corpus")
    parser.add_argument("--target", type=Path, default=ROOM / "target")
    parser.add_argument("--draft", type=Path, default=ROOM / "draft")
    parser.add_argument("--out", type=Path, default=ROOM / "evaluation.json")
    args = parser.parse_args()
    pair = Pair(args.target, args.draft)
    rows = [json.loads(line) for line in (ROOM / "heldout.jsonl").read_text(encoding="utf-8").splitlines()]
    result: Json = {domain: by_domain(pair, [r for r in rows if r["domain"] == domain]) for domain in DOMAINS}
    result["loss_by_position"] = by_position(pair, np.load(args.work / "heldout.npy"))
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
