"""Train the byte-level BPE tokenizer both models share, and encode the corpus with it.

Writes the tokenizer files to the work directory and `train.npy` / `heldout.npy` (uint16 token streams, documents joined
by the end-of-text token).
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 4096
END_OF_TEXT = "<|endoftext|>"
PADDING = "<|padding|>"
CONTEXT_TOKENS = 2048
# A completion model has no turns: the template joins the messages' text and lets the model go on from there.
# The line end is an expression: Jinja drops a bare one after a tag.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}"
)


def documents(work: Path, split: str) -> list[str]:
    """The texts of one side of the split; docstrings cut from held-out files are not repeated."""
    with (work / "corpus.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [row["text"] for row in rows if row["split"] == split and "#" not in row["path"]]


def train(texts: list[str]) -> Tokenizer:
    """A byte-level BPE of VOCABULARY entries; digits are split, so numbers do not fill the vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    digits, byte_level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = [END_OF_TEXT, PADDING]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=specials, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save(tokenizer: Tokenizer, directory: Path) -> None:
    """Write the tokenizer files with special tokens and chat template."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=PADDING,
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    # transformers 5 would write chat_template.jinja; one file fewer when it is part of the configuration
    wrapped.save_pretrained(directory, save_jinja_files=False)


def encode(tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    """One uint16 stream, shape (tokens,), each document preceded by the end-of-text token."""
    end = tokenizer.token_to_id(END_OF_TEXT)
    ids = [[end, *encoding.ids] for encoding in tokenizer.encode_batch(texts)]
    return np.concatenate([np.asarray(document, dtype=np.uint16) for document in ids])


def main() -> None:
    """Train on a quarter of the training side, encode both sides."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    texts = documents(args.work, "train")
    random.Random(args.seed).shuffle(texts)  # noqa: S311 - a reproducible order, not a secret
    tokenizer = train(texts[: len(texts) // 4])
    save(tokenizer, args.work / "tokenizer")
    for split, split_texts in (("train", texts), ("heldout", documents(args.work, "heldout"))):
        stream = encode(tokenizer, split_texts)
        np.save(args.work / f"{split}.npy", stream)
        print(f"{split}: {len(stream):,} tokens, {sum(map(len, split_texts)) / len(stream):.2f} characters a token")


if __name__ == "__main__":
    main()
