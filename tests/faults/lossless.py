"""`python -m tests.faults.lossless`: what speculation must not change, over HTTP, through the graph, on real vLLM.

Identity: greedy answers in float32 are those of plain decoding (policy `off`, one request at a time) token for token,
while concurrency changes, reloads swap policies, and prompts share prefixes, run in chunks and are preempted.
Distribution: transitions of a Markov pair at temperature 0.7 and 1, chi-square against the target's own table, under
the same swaps.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import chi2
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from benchmarks.provenance import provenance
from tests.cluster.service import Service, eventually
from tests.engine import markov
from tests.faults import graphs
from tests.faults.identity import COMPLETIONS, Case, Compared, answers, asked, cases, compare, ends, together
from tests.faults.result import RESULTS

OFF: dict[str, Any] = {"name": "off"}
POLICIES: list[dict[str, Any]] = [
    {"name": "slo_goodput"},
    {"name": "fixed", "params": {"k": 3}},
    {"name": "tests.engine.planted:Ragged"},
    {"name": "nosuch"},  # refused: the one before it goes on
    {"name": "confidence", "params": {"threshold": 0.4}},
    OFF,
    {"name": "tests.engine.planted:PayingAdaSpec"},
    {"name": "fixed", "params": {"k": 5}},
]
CONCURRENT = (24, 4, 1, 12)
EVERY_S = 0.5
WITHIN_S = 600  # a busy machine is no fault
ENGINE = {
    "model": str(graphs.ROOT / "models" / "target"),
    "max_num_seqs": 24,
    "max_num_batched_tokens": 192,  # prompts are longer: prefill in chunks, mixed with decoding
    "vllm_args": {"num_gpu_blocks_override": 40, "block_size": 32},  # less than 24 requests grow to: preemption
}
SEEN = ("preemptions", "prefix_hit_tokens", "prompt_chunks", "accepted_tokens", "catch_up_tokens")
TEMPERATURES = (0.7, 1.0)
LENGTH = 300


@dataclass
class Run:
    """What was compared, and what happened meanwhile."""

    kinds: defaultdict[str, Compared] = field(default_factory=lambda: defaultdict(Compared))
    ends: dict[str, int] = field(default_factory=dict)
    p_value: float = 0.0
    transitions: int = 0
    meanwhile: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return self.p_value >= 1e-5 and not any(of.different for name, of in self.kinds.items() if name not in TOLD)


TOLD = ("seed, policy changing",)
"""Kinds that are shown, and promised by nobody: a policy decides how many random numbers a step uses."""


def config(**engine: Any) -> dict[str, Any]:
    """The demo pair, or another one, behind the graph."""
    found = graphs.pair(replicas=1)
    found["applications"][0]["args"] = {"engine": graphs.PAIR | ENGINE | engine}
    replica = found["applications"][0]["deployments"][-1]
    replica |= {"max_ongoing_requests": 40, "user_config": {"policy": OFF}}
    return found


@asynccontextmanager
async def swapping(service: Service, every_s: float) -> AsyncIterator[None]:
    """Real reloads while the block runs; plain decoding before and after."""

    async def forever() -> None:
        for policy in itertools.cycle(POLICIES):
            await asyncio.to_thread(service.reload, policy=policy)
            await asyncio.sleep(every_s)

    task = asyncio.create_task(forever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await set_policy(service, OFF)


async def set_policy(service: Service, policy: dict[str, Any]) -> None:
    """Returns once it serves."""
    await asyncio.to_thread(service.reload, policy=policy)
    await asyncio.to_thread(eventually, lambda: live(service) == policy["name"], WITHIN_S)


def live(service: Service) -> str:
    """The policy that serves; "" while the load monitor has not heard."""
    found = service.policies()
    return str(found[0]["policy"]["name"]) if found else ""


async def identity(service: Service, http: httpx.AsyncClient, run: Run, prompts: int, tokens: int) -> None:
    """References first; then every request again in each concurrency, under swaps."""
    wanted = cases("demo", prompts, tokens)
    references = await answers(http, wanted, 1)
    run.ends = dict(ends(references))
    before = await asyncio.to_thread(happened, service)
    async with swapping(service, EVERY_S):
        for most in CONCURRENT:
            for case, got, ref in zip(wanted, await answers(http, wanted, most), references, strict=True):
                compare(case, got, ref, run.kinds[case.kind])
    run.meanwhile["identity"] = await asyncio.to_thread(difference, service, before)


async def seeds(service: Service, http: httpx.AsyncClient, run: Run, prompts: int) -> None:
    """Sampled with a seed: twice under one policy, in other company; and under changing ones, which is not promised."""
    bodies = [case.body for case in cases("demo", prompts, 40) if case.kind == "greedy"]
    wanted = [Case("", COMPLETIONS, body | {"temperature": 1, "seed": i}) for i, body in enumerate(bodies)]
    for policy in (OFF, {"name": "fixed", "params": {"k": 3}}):
        await set_policy(service, policy)
        first = await answers(http, wanted, 1)
        for case, got, ref in zip(wanted, await answers(http, wanted, 8), first, strict=True):
            compare(case, got, ref, run.kinds[f"seed, {policy['name']}"])
    async with swapping(service, EVERY_S):
        for case, got, ref in zip(wanted, await answers(http, wanted, 8), first, strict=True):
            compare(case, got, ref, run.kinds[TOLD[0]])


async def distribution(service: Service, http: httpx.AsyncClient, run: Run, transitions: int) -> None:
    """Prompts and answers as token ids, temperatures mixed, every other request with a seed of its own."""
    logits, _ = markov.tables()
    counts = {t: np.zeros((markov.TOKENS, markov.TOKENS)) for t in TEMPERATURES}
    numbers, before = itertools.count(), await asyncio.to_thread(happened, service)

    async def one() -> None:
        i = next(numbers)
        temperature = TEMPERATURES[i // 2 % 2]
        prompt = [(i + j) % markov.TOKENS for j in range(1 + i % 9)]
        body = {"prompt": prompt, "temperature": temperature, "max_tokens": LENGTH - 7 * (i % 20), "ignore_eos": True}
        body |= {"return_token_ids": True} | ({"seed": i} if i % 2 else {"n": 2})
        for choice in await asked(http, Case("", COMPLETIONS, body)):
            tokens = np.array([prompt[-1], *choice["token_ids"]])
            np.add.at(counts[temperature], (tokens[:-1], tokens[1:]), 1)

    async with swapping(service, EVERY_S):
        while sum(of.sum() for of in counts.values()) < transitions:
            await together(24, [one] * 48)
    found = [markov.chi_square(counts[t], logits, t) for t in TEMPERATURES]
    run.transitions = int(sum(of.sum() for of in counts.values()))
    run.p_value = float(chi2.sf(sum(s for s, _ in found), sum(f for _, f in found)))
    run.meanwhile["distribution"] = await asyncio.to_thread(difference, service, before)


def happened(service: Service) -> dict[str, float]:
    """Counters of the engine and of reloads."""
    report = eventually(service.replicas)[0]["report"]
    reloads = {f"reloads {o}": service.total("adaspec_reloads_total", outcome=o) for o in ("applied", "rejected")}
    counted = {"vllm:num_preemptions": service.total("vllm:num_preemptions_total")}
    return {name: float(report[name]) for name in SEEN} | reloads | counted


def difference(service: Service, before: dict[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in happened(service).items()}


def markov_pair(folder: Path) -> dict[str, str]:
    """Target and draft with a tokenizer of sixteen words, which a server cannot do without."""
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(markov.TOKENS)}, unk_token="w0"))  # noqa: S106 - a word
    for name, table in zip(("model", "draft"), markov.tables(), strict=True):
        markov.write(folder / name, table)
        PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder / name)
    return {name: str(folder / name) for name in ("model", "draft")}


async def measure(service: Service, options: argparse.Namespace) -> Run:
    """Everything, on one service that is deployed twice."""
    run = Run()
    async with httpx.AsyncClient(base_url=service.url, timeout=WITHIN_S) as http:
        await deployed(service, config())
        await identity(service, http, run, options.prompts, options.tokens)
        await seeds(service, http, run, options.prompts)
        with tempfile.TemporaryDirectory() as folder:
            await deployed(service, config(**markov_pair(Path(folder)), calibrate_s=0))  # its prompt has more words
            await distribution(service, http, run, options.transitions)
    return run


async def deployed(service: Service, wanted: dict[str, Any]) -> None:
    await asyncio.to_thread(service.deploy, wanted)
    await asyncio.to_thread(service.ready)


def show(run: Run) -> None:
    """The tables."""
    table = Table("answers", "tried", "identical", "different")
    for kind, of in run.kinds.items():
        table.add_row(kind, str(of.tried), str(of.identical), str(of.different))
    console = Console(width=160)
    console.print(table)
    console.print(f"references ended by {run.ends}; {run.transitions} transitions, p = {run.p_value:.3g}")
    for name, counted in run.meanwhile.items():
        console.print(f"during {name}: {', '.join(f'{what} {count:.0f}' for what, count in counted.items())}")
    for of in run.kinds.values():
        console.print("\n".join(of.said[:5]))


def save(run: Run, options: argparse.Namespace) -> None:
    """lossless.json and its provenance."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    kinds = {kind: {"tried": of.tried, "identical": of.identical} for kind, of in run.kinds.items()}
    figures = {"transitions": run.transitions, "p_value": run.p_value, "meanwhile": run.meanwhile, "ends": run.ends}
    for name, content in (
        ("lossless", {"answers": kinds} | figures),
        ("lossless.provenance", provenance(vars(options))),
    ):
        (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Exit status 1 if an answer differed or the distribution is not the target's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=12, help="requests of each kind and concurrency")
    parser.add_argument("--tokens", type=int, default=60, help="of the shortest answer")
    parser.add_argument("--transitions", type=int, default=60_000)
    options = parser.parse_args()
    with graphs.served() as service:
        run = asyncio.run(measure(service, options))
    show(run)
    save(run, options)
    return 0 if run.good else 1


if __name__ == "__main__":
    sys.exit(main())
