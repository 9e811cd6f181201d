"""What the adaptive engine costs where it should cost nothing, and what it gains where it should gain.

    python -m benchmarks.engine_tax tax  --size 30m     # `off` / stock without a draft, `fixed` K / stock static K
    python -m benchmarks.engine_tax pays --size 270m    # a policy / stock without a draft and stock static 1, 3, 5

All engines of a comparison are resident; blocks of decode steps alternate between them, the idle ones stopped. Each
cell (batch size x arm) is written when it is done; a finished cell is not run again.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from benchmarks.pair import ROOT, Engine, engines, environment, kv_bytes, options, ratio_interval
from benchmarks.provenance import provenance

RESULTS = ROOT / "benchmarks" / "results" / "engine_tax"
K_MAX = 5
STATIC = (1, 3, 5)


@dataclass(frozen=True)
class Arm:
    """An engine under a name, with the policy to set (None: stock)."""

    name: str
    engine: str
    policy: dict[str, Any] | None = None


def stock_static(k: int) -> Arm:
    """Stock vLLM with a draft of K tokens."""
    return Arm(f"stock_k{k}", f"stock_k{k}")


def our_static(k: int) -> Arm:
    """The same K in our engine."""
    return Arm(f"fixed_{k}", "ours", {"name": "fixed", "params": {"k": k}})


def tax_arms(k: int) -> tuple[list[Arm], list[tuple[str, str]]]:
    """Arms, and the pairs (ours, stock) to compare."""
    arms = [
        Arm("stock", "stock"),
        Arm("off", "ours", {"name": "off"}),
        stock_static(k),
        our_static(k),
    ]
    return arms, [("off", "stock"), (f"fixed_{k}", f"stock_k{k}")]


def pays_arms(policies: list[str], *, sampled: bool) -> tuple[list[Arm], list[tuple[str, str]]]:
    """Every policy against stock without a draft and against each static K.

    The static K of sampled text are ours: stock's accept next to nothing on a CPU (see `deployments.engine.cpu_fix`).
    """
    static = our_static if sampled else stock_static
    base = [Arm("stock", "stock"), *map(static, STATIC)]
    ours = [Arm(name, "ours", {"name": name}) for name in policies]
    return base + ours, [(a.name, s.name) for a in ours for s in base]


def engine_options(args: argparse.Namespace, arms: list[Arm]) -> dict[str, dict[str, Any]]:
    """One engine a name; every `ours` arm shares one."""
    kv = kv_bytes(args.size, max(args.batches), args.steps, K_MAX)
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(arm.engine for arm in arms):
        k = None if name == "stock" else K_MAX if name == "ours" else int(name.removeprefix("stock_k"))
        found[name] = options(args.size, k, adaptive=name == "ours", kv_cache_bytes=kv)
    return found


def alternate(
    running: dict[str, Engine], arms: list[Arm], batch: int, args: argparse.Namespace
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Blocks in rotated order, the same prompts for every arm of a round."""
    asked = {"batch": batch, "steps": args.steps, "temperature": args.temperature}
    for round_ in range(args.rounds):
        shift = round_ % len(arms)
        for arm in arms[shift:] + arms[:shift]:
            yield arm.name, running[arm.engine].run(**asked, first=round_ * batch, policy=arm.policy)


def summary(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """One arm's blocks: median step period and tokens/s of each, and what was drafted."""
    first, last = blocks[0], blocks[-1]
    return {
        "step_s": [statistics.median(b["periods_s"]) for b in blocks],
        "tokens_per_s": [b["tokens"] / sum(b["periods_s"]) for b in blocks],
        "speculation": speculation(blocks) if last["after"] else None,
        "steps_per_block": len(first["periods_s"]),
    }


def speculation(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Acceptance rate (accepted / reached), drafted and verified tokens, and steps by K, over the timed steps."""
    total = {
        key: sum(b["after"].get(key, 0) - b["before"].get(key, 0) for b in blocks)
        for key in ("drafted_tokens", "verified_tokens", "accepted_tokens", "decide_s", "early_stops", "catch_ups")
    }
    reached = sum(sum(b["after"]["reached_at"]) - sum(b["before"]["reached_at"]) for b in blocks)
    histogram: dict[str, int] = {}
    for block in blocks:
        for k, n in block["after"]["k_steps"].items():
            histogram[k] = histogram.get(k, 0) + n - block["before"]["k_steps"].get(k, 0)
    return {**total, "acceptance_rate": total["accepted_tokens"] / reached if reached else None, "k_steps": histogram}


def cell(found: dict[str, list[dict[str, Any]]], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Summaries, and for each pair the ratios ours / stock with 95 % intervals."""
    arms = {name: summary(blocks) for name, blocks in found.items()}
    ratios = {
        f"{ours} / {stock}": {
            what: dict(zip(("median", "low", "high"), ratio_interval(arms[ours][what], arms[stock][what]), strict=True))
            for what in ("step_s", "tokens_per_s")
        }
        for ours, stock in pairs
    }
    return {"ratios": ratios, "arms": arms}


def run(args: argparse.Namespace) -> None:
    """Run the cells that have no result yet."""
    arms, pairs = tax_arms(args.k) if args.what == "tax" else pays_arms(args.policies, sampled=args.temperature > 0)
    sampled = f"_t{args.temperature:g}" if args.temperature else ""
    out = args.out / f"{args.what}_{args.size}{sampled}"
    out.mkdir(parents=True, exist_ok=True)
    todo = [b for b in args.batches if not (out / f"batch_{b}.json").exists()]
    if not todo:
        print("every cell is done", flush=True)
        return
    with engines(engine_options(args, arms), args.logs) as running, Progress() as progress:
        for batch in todo:
            task = progress.add_task(f"{args.what} {args.size} batch {batch}", total=args.rounds * len(arms))
            found: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in arms}
            for name, block in alternate(running, arms, batch, args):
                found[name].append(block)
                progress.advance(task)
            asked = {name: value for name, value in vars(args).items() if not isinstance(value, Path)}
            result = {
                "batch": batch,
                **cell(found, pairs),
                "provenance": provenance({**asked, "worker_cpu": environment()["VLLM_CPU_OMP_THREADS_BIND"]}),
            }
            (out / f"batch_{batch}.json").write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")
            for name, ratio in result["ratios"].items():
                step, rate = ratio["step_s"], ratio["tokens_per_s"]
                print(
                    f"batch {batch:3} {name:24} step {step['median']:.3f} [{step['low']:.3f}, {step['high']:.3f}]"
                    f"  tokens/s {rate['median']:.3f} [{rate['low']:.3f}, {rate['high']:.3f}]",
                    flush=True,
                )


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tax", "pays"])
    parser.add_argument("--size", choices=["30m", "270m"], required=True)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--steps", type=int, default=200, help="timed decode steps a block")
    parser.add_argument("--rounds", type=int, default=20, help="blocks of each arm")
    parser.add_argument("--temperature", type=float, default=0, help="0: greedy, whose texts repeat themselves")
    parser.add_argument("--k", type=int, default=3, help="static K of the tax comparison")
    parser.add_argument("--policies", nargs="+", default=["adaspec", "slo_goodput"])
    parser.add_argument("--out", type=Path, default=RESULTS, help="a trial's results do not belong in the repository")
    parser.add_argument("--logs", type=Path, default=ROOT / ".bench")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
