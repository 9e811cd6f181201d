"""The default against the best that one setting could have done, load by load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.serving.arms import ARMS, Arm
from benchmarks.serving.finished import BASELINE

INTERVAL = "{ratio:.2f} [{low:.2f}, {high:.2f}]"
RIVALS: dict[str, Callable[[Arm], bool]] = {
    "best single setting": lambda arm: arm.policy is None or arm.policy["name"] in ("off", "fixed"),
    "best static K": lambda arm: arm.name.startswith(("stock_k", "fixed_")),
    "stock, no speculation": lambda arm: arm.name == BASELINE,
}
"""The best of them is chosen in hindsight, load by load, from noisy figures: no setting to be had does so well."""
TEXT = (
    "Goodput of the default to that of the setting that turned out best at this load, and its attainment to the "
    "highest of all arms, with the arm's name; over the rounds both have. The best of many noisy figures is a little "
    "too good: nobody could have picked it beforehand."
)


def headline(chosen: Mapping[str, Mapping[str, Any]]) -> str:
    """Of load -> arm -> metric -> the default's ratio to that arm; empty where nothing can be compared."""
    rows = {load: row for load, row in chosen.items() if row}
    if not rows:
        return ""
    titles = ["load", *RIVALS, "attainment, of all arms"]
    lines = [f"\n## The default to the best of each kind\n\n{TEXT}\n", line_of(titles), "|---" * len(titles) + "|"]
    for load, row in rows.items():
        kinds = [[arm.name for arm in ARMS if arm.name in row and is_one(arm)] for is_one in RIVALS.values()]
        shown = [_hardest(row, names, "goodput") for names in kinds] + [_hardest(row, list(row), "attainment")]
        lines.append(line_of([load, *shown]))
    return "\n".join(lines) + "\n"


def _hardest(row: Mapping[str, Any], names: list[str], metric: str) -> str:
    """The arm the default does worst against."""
    if not names:
        return "-"
    name = min(names, key=lambda n: row[n][metric]["ratio"])
    return f"{INTERVAL.format(**row[name][metric])} {name}"


def line_of(cells: list[str]) -> str:
    """A row of a table in Markdown."""
    return "| " + " | ".join(cells) + " |"
