"""The engine comparisons as one page: `python -m benchmarks.engine_table` writes results/engine_tax/README.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.engine_tax import RESULTS

HEADER = """# The adaptive engine beside stock vLLM, in one process tree each

`python -m benchmarks.engine_tax tax|pays --size 30m|270m`: all engines resident, blocks of decode steps in rotated
order, the idle engines stopped, the same held-out prompts for every arm of a round, float32, greedy where no
temperature is named. Ratios are taken block by block: the median and its bootstrapped 95 % interval. Step: median
wall period of a decode step: below 1 is faster. Tokens/s: above 1 is faster. `stock` is vLLM without a draft,
`stock_k3` with K = 3; where text is sampled the static K (`fixed_3`) are our engine's, since stock's accept next
to nothing on a CPU. One core computes; the other was used by unrelated work. Command, versions, commit and
machine: `provenance` in each file.
"""


def cells(folder: Path) -> list[dict[str, Any]]:
    """Results of a comparison, by batch."""
    found = [json.loads(path.read_text()) for path in folder.glob("batch_*.json")]
    return sorted(found, key=lambda cell: int(cell["batch"]))


def shown(ratio: dict[str, float]) -> str:
    """Median and interval."""
    return f"{ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"


def rows(folder: Path) -> Iterator[str]:
    """A line for each pair of arms."""
    for cell in cells(folder):
        config = cell["provenance"]["config"]
        for pair, ratios in cell["ratios"].items():
            ours = cell["arms"][pair.split(" / ")[0]]["speculation"]
            accepted = "" if ours["acceptance_rate"] is None else f"{ours['acceptance_rate']:.2f}"
            steps = {k: n for k, n in ours["k_steps"].items() if n}
            histogram = " ".join(f"{k}:{100 * n / sum(steps.values()):.0f}" for k, n in steps.items())
            size = f"{config['rounds']} x {cell['arms'][pair.split(' / ')[0]]['steps_per_block']}"
            step, rate = shown(ratios["step_s"]), shown(ratios["tokens_per_s"])
            yield f"| {cell['batch']} | {pair} | {size} | {step} | {rate} | {accepted} | {histogram} |"


def title(name: str) -> str:
    """Of a folder as `engine_tax` names them: what, size, and the temperature if it is not 0."""
    what, size, *sampled = name.split("_")
    return ", ".join([what, size, *(f"temperature {word.removeprefix('t')}" for word in sampled)])


def main() -> None:
    """Every folder of results that there is."""
    lines = [HEADER]
    for folder in sorted(path for path in RESULTS.iterdir() if path.is_dir()):
        lines += [f"## {title(folder.name)}", ""]
        lines.append("| batch | ours / other | blocks x steps | step | tokens/s | acceptance | K: % of steps |")
        lines += ["|---|---|---|---|---|---|---|", *rows(folder), ""]
    (RESULTS / "README.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
