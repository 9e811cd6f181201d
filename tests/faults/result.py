"""What every command here leaves behind: a table on the screen, and the same as JSON with where it came from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.clients import Outcome, Request
from benchmarks.provenance import provenance

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "faults"
SHOWN: tuple[Outcome, ...] = ("served", "refused", "error event", "closed", "left")
ALWAYS: frozenset[Outcome] = frozenset({"served", "refused"})


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was tried. `lost`: requests that ended as they must not, hangs among them."""

    what: str
    tried: int
    outcomes: dict[Outcome, int]
    lost: int
    hangs: int
    figures: dict[str, float | None] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)  # what was lost, in words, and what else did not hold

    @property
    def good(self) -> bool:
        return not self.lost and not self.wrong


def row(what: str, requests: Iterable[Request], allowed: frozenset[Outcome], **figures: float | None) -> Row:
    """`allowed`: how requests may end beside being served or refused."""
    ended = list(requests)
    outcomes = Counter(request.outcome for request in ended)
    bad = [request for request in ended if request.outcome not in ALWAYS | allowed or not _complete(request)]
    return Row(what, len(ended), dict(outcomes), len(bad), outcomes["hung"], figures, [_said(r) for r in bad[:5]])


def _complete(request: Request) -> bool:
    """A request that was served has all its tokens, where the fake engine's words tell."""
    wanted = request.body["max_tokens"]
    return request.outcome != "served" or request.body["model"] != "fake" or len(request.text.split()) == wanted


def _said(request: Request) -> str:
    words = len(request.text.split())
    return f"{request.outcome}: status {request.status}, {words} words, {request.errors} errors, {request.failure}"


def show(rows: list[Row], figures: list[str]) -> None:
    """The table."""
    table = Table("tried", "requests", *SHOWN, "lost", "hangs", *figures)
    for of in rows:
        counts = [str(of.outcomes.get(name, 0)) for name in SHOWN]
        measured = ["" if of.figures.get(f) is None else f"{of.figures[f]:.1f}" for f in figures]
        table.add_row(of.what, str(of.tried), *counts, str(of.lost), str(of.hangs), *measured)
    console = Console(width=160)
    console.print(table)
    for of in rows:
        for said in of.wrong:
            console.print(f"{of.what}: {said}")


def save(name: str, rows: list[Row], config: dict[str, Any]) -> None:
    """`name`.json with these rows in place of older ones of the same name, each with where it came from."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path, origin = RESULTS / f"{name}.json", provenance(config)
    kept: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    found = {of["what"]: of for of in kept} | {of.what: asdict(of) | {"provenance": origin} for of in rows}
    path.write_text(json.dumps(list(found.values()), indent=1) + "\n", encoding="utf-8")
