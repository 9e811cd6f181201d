"""Gather what the committed pair is and how it came to be into `provenance.json`.

Run: `python -m models.provenance --work DIR --target-run DIR --draft-run DIR --machine KIND`.
"""

import argparse
import datetime as dt
import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from models.heldout import ROOM


def read(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def network(name: str, run: Path) -> dict[str, object]:
    """Size, hash and run (steps, tokens seen, seconds) of one model."""
    weights = (ROOM / name / "model.safetensors").read_bytes()
    config = read(ROOM / name / "config.json")
    shape = {key: config[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "head_dim")}
    return {**shape, "sha256": hashlib.sha256(weights).hexdigest(), "bytes": len(weights), **read(run / "run.json")}


def corpus(work: Path) -> dict[str, object]:
    """Sizes of the corpus; packages, licences and hashes are in `corpus.json`."""
    packages = read(ROOM / "corpus.json")["packages"].values()
    return {
        "packages": len(packages),
        "train_bytes": sum(p["train_bytes"] for p in packages),
        "train_tokens": len(np.load(work / "train.npy", mmap_mode="r")),
        "heldout_tokens": len(np.load(work / "heldout.npy", mmap_mode="r")),
    }


def main() -> None:
    """Write the file; what only the person who ran it knows comes by option."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--target-run", type=Path, required=True)
    parser.add_argument("--draft-run", type=Path, required=True)
    parser.add_argument("--machine", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--note", action="append", default=[], help="a departure from the commands in README.md")
    args = parser.parse_args()
    found = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": args.machine,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")},
        "seed": args.seed,
        "corpus": corpus(args.work),
        "target": network("target", args.target_run),
        "draft": network("draft", args.draft_run),
        "heldout": read(ROOM / "evaluation.json"),
        "notes": args.note,
    }
    (ROOM / "provenance.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
