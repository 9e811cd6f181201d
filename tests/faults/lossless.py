"""`python -m tests.faults.lossless`: what speculation must not change, over HTTP, through the graph, on real vLLM.

identity: greedy answers in float32 are those of plain decoding (policy `off`, one request at a time) token for token,
while concurrency changes, reloads swap policies, and prompts share prefixes, run in chunks and are preempted.
seeds: sampled answers with a seed, asked twice in other company.
distribution: transitions of a Markov pair at temperature 0.7 and 1, chi-square against the target's own table, under
the same swaps.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx
from rich.console import Console
from rich.table import Table

from benchmarks.provenance import provenance
from tests.cluster.service import Service
from tests.faults import graphs
from tests.faults.distribution import markov_pair, p_value
from tests.faults.identity import COMPLETIONS, Case, Compared, answers, cases, compare, ends
from tests.faults.result import RESULTS
from tests.faults.swaps import OFF, WITHIN_S, counted, deployed, set_policy, swapping

CONCURRENT = (24, 4, 1, 12)
LEAST_P = 1e-5
CHANGING = "seed, policy changing"
"""Shown, and promised by nobody: a policy decides how many random numbers a step uses."""


@dataclass
class Found:
    """What one part compared, and what was counted meanwhile."""

    kinds: defaultdict[str, Compared] = field(default_factory=lambda: defaultdict(Compared))
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        differing = [name for name, of in self.kinds.items() if of.different and name != CHANGING]
        return not differing and self.figures.get("p_value", 1.0) >= LEAST_P

    def take(self, name: str, got: list[list[dict[str, Any]]], wanted: list[Case], plain: list[Any]) -> None:
        """Answers of one kind; of each case's own kind where `name` is ""."""
        for case, answer, reference in zip(wanted, got, plain, strict=True):
            compare(case, answer, reference, self.kinds[name or case.kind])


async def identity(service: Service, http: httpx.AsyncClient, options: argparse.Namespace) -> Found:
    """References first; then every request again in each concurrency, under swaps."""
    await deployed(service)
    found, wanted = Found(), cases("demo", options.prompts, options.tokens)
    plain = await answers(http, wanted, 1)
    before = await counted(service)
    async with swapping(service):
        for most in CONCURRENT:
            found.take("", await answers(http, wanted, most), wanted, plain)
    found.figures = {"references ended by": dict(ends(plain)), "meanwhile": await counted(service, before)}
    return found


async def seeds(service: Service, http: httpx.AsyncClient, options: argparse.Namespace) -> Found:
    """Twice under one policy, alone and in company; and under changing ones, which is not promised."""
    await deployed(service)
    bodies = [case.body for case in cases("demo", options.prompts, options.tokens) if case.kind == "greedy"]
    wanted = [Case("", COMPLETIONS, body | {"temperature": 1, "seed": i}) for i, body in enumerate(bodies)]
    found = Found()
    for policy in (OFF, {"name": "fixed", "params": {"k": 3}}):
        await set_policy(service, policy)
        first = await answers(http, wanted, 1)
        found.take(f"seed, {policy['name']}", await answers(http, wanted, 8), wanted, first)
    async with swapping(service):
        found.take(CHANGING, await answers(http, wanted, 8), wanted, first)
    return found


async def distribution(service: Service, http: httpx.AsyncClient, options: argparse.Namespace) -> Found:
    """Under swaps all the time."""
    with markov_pair() as pair:
        await deployed(service, **pair, calibrate_s=0)  # its prompt has more words than this pair
        before = await counted(service)
        async with swapping(service):
            p, transitions = await p_value(http, options.transitions)
        meanwhile = await counted(service, before)
    return Found(figures={"transitions": transitions, "p_value": p, "meanwhile": meanwhile})


PARTS: dict[str, Callable[[Service, httpx.AsyncClient, argparse.Namespace], Awaitable[Found]]] = {
    "identity": identity,
    "seeds": seeds,
    "distribution": distribution,
}


async def measure(service: Service, options: argparse.Namespace) -> list[Found]:
    """The parts asked for, each shown and saved when it is done."""
    found = []
    async with httpx.AsyncClient(base_url=service.url, timeout=WITHIN_S) as http:
        for name in options.parts:
            found.append(await PARTS[name](service, http, options))
            show(name, found[-1])
            save(name, found[-1], options)
    return found


def show(name: str, found: Found) -> None:
    """The table, and the first differences in words."""
    table = Table(name, "tried", "identical", "different")
    for kind, of in found.kinds.items():
        table.add_row(kind, str(of.tried), str(of.identical), str(of.different))
    console = Console(width=160)
    console.print(table if found.kinds else name, found.figures)
    for of in found.kinds.values():
        console.print("\n".join(of.said[:5]), markup=False, end="\n" if of.said else "")


def save(name: str, found: Found, options: argparse.Namespace) -> None:
    """lossless-NAME.json and its provenance."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    kinds = {kind: {"tried": of.tried, "identical": of.identical} for kind, of in found.kinds.items()}
    content = {"answers": kinds} | found.figures
    for stem, data in ((f"lossless-{name}", content), (f"lossless-{name}.provenance", provenance(vars(options)))):
        (RESULTS / f"{stem}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Exit status 1 if an answer differed or the distribution is not the target's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--prompts", type=int, default=12, help="requests of each kind and concurrency")
    parser.add_argument("--tokens", type=int, default=60, help="of the shortest answer")
    parser.add_argument("--transitions", type=int, default=60_000)
    options = parser.parse_args()
    with graphs.served() as service:
        found = asyncio.run(measure(service, options))
    return 0 if all(of.good for of in found) else 1


if __name__ == "__main__":
    sys.exit(main())
