"""Cut the held-out prompts from held-out documents: `heldout.jsonl`, one third for each domain.

Run: `python -m models.heldout --work DIR`.
"""

import argparse
import json
import random
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from models.corpus import Document

ROOM = Path(__file__).parent
PER_DOMAIN = 100
PROMPT_TOKENS = (100, 300)
CONTINUATION_TOKENS = 160
DOMAINS = ("library", "third_party", "prose")


def cut(doc: Document, tokenizer: PreTrainedTokenizerBase, rng: random.Random) -> dict[str, str] | None:
    """A prompt of PROMPT_TOKENS that starts and ends at line ends, and the text after it.

    None if `doc` is short, or if it is prose with a link in it: badges and addresses are not prose.
    """
    lines = doc.text.splitlines(keepends=True)
    first = rng.randrange(max(1, len(lines) - 20))
    wanted = rng.randint(*PROMPT_TOKENS)
    prompt, last = "", first
    while last < len(lines) and len(tokenizer.encode(prompt + lines[last])) <= wanted:
        prompt += lines[last]
        last += 1
    rest = tokenizer.encode("".join(lines[last : last + CONTINUATION_TOKENS]))[:CONTINUATION_TOKENS]
    if len(tokenizer.encode(prompt)) < PROMPT_TOKENS[0] or len(rest) < CONTINUATION_TOKENS // 2:
        return None
    if doc.domain == "prose" and "://" in "".join(lines[first : last + CONTINUATION_TOKENS]):
        return None
    identity = f"{doc.domain}:{doc.package}:{doc.path}:{first + 1}"
    return {"id": identity, "domain": doc.domain, "prompt": prompt, "continuation": tokenizer.decode(rest)}


def prompts(documents: list[Document], tokenizer: PreTrainedTokenizerBase, rng: random.Random) -> list[dict[str, str]]:
    """Up to PER_DOMAIN prompts, each from another document until all were used."""
    found: dict[str, dict[str, str]] = {}
    for _ in range(20):
        for doc in rng.sample(documents, len(documents)):
            row = cut(doc, tokenizer, rng) if len(found) < PER_DOMAIN else None
            if row is not None:
                found[row["id"]] = row
    return [found[identity] for identity in sorted(found)]


def main() -> None:
    """Write `heldout.jsonl` beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="directory of the collected corpus")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.work / "tokenizer")
    with (args.work / "corpus.jsonl").open(encoding="utf-8") as lines:
        documents = [Document(**row) for row in map(json.loads, lines) if row["split"] == "heldout"]
    rng = random.Random(args.seed)  # noqa: S311 - a reproducible choice, not a secret
    with (ROOM / "heldout.jsonl").open("w", encoding="utf-8") as out:
        for domain in DOMAINS:
            rows = prompts([d for d in documents if d.domain == domain], tokenizer, rng)
            print(f"{domain}: {len(rows)} prompts")
            out.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
