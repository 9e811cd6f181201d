"""`python -m loadgen sweep`: what length a policy chooses as the batch grows, under a measured time model."""

from __future__ import annotations

import html
import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from pydantic import ValidationError
from rich.console import Console
from rich.progress import track

from loadgen.complaint import complain
from loadgen.page import STYLE, grid, svg
from loadgen.parts import Lengths
from loadgen.plots import BLUE, GREY, ORANGE
from loadgen.provenance import provenance
from loadgen.sim.acceptance import Domain
from loadgen.sim.arrivals import Constant
from loadgen.sim.fleet import Simulation
from loadgen.sim.report import summary
from loadgen.sim.scenario import Engine, Scenario
from loadgen.sim.truth import Forward, Truth
from policies.estimators.cost import LinearCoefficients
from policies.registry import PolicyError, PolicySpec

BATCHES = (1, 2, 4, 8, 16, 32, 64, 96, 128)
PROMPT_TOKENS, OUTPUT_TOKENS = 64, 256
NOISE = 0.03


def add_arguments(parser: ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--profile", type=Path, required=True, help="profile.json of `make profile`")
    parser.add_argument("--out", type=Path, required=True, help="folder for sweep.json, provenance.json, sweep.html")
    parser.add_argument("--policy", default="slo_goodput", help="a shipped controller or an import path")
    parser.add_argument("--acceptance", type=float, help="acceptance rate in place of the profile's")
    parser.add_argument("--seed", type=int, default=0)


def run(args: Namespace) -> int:
    """Returns the exit status: 0, or 2 where the profile or the policy is refused."""
    try:
        rows = sweep(json.loads(args.profile.read_text()), args.policy, args.acceptance, args.seed)
    except (ValidationError, PolicyError, ValueError, OSError, LookupError) as error:
        complain(f"{args.profile}: {error}")
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    origin = provenance(["python -m loadgen", *sys.argv[1:]], args.seed)
    (args.out / "sweep.json").write_text(json.dumps(rows, indent=1))
    (args.out / "provenance.json").write_text(json.dumps(origin, indent=1))
    (args.out / "sweep.html").write_text(page(args.policy, rows, origin))
    console = Console(stderr=True)
    for row in rows:
        console.print(
            f"batch {row['batch']:>3}: mean K {row['mean_k']:.2f}, {100 * row['gain']:+.1f} % over no speculation"
        )
    console.print(f"{args.out / 'sweep.html'}", markup=False)
    return 0


def sweep(profile: dict[str, Any], policy: str, acceptance: float | None, seed: int) -> list[dict[str, Any]]:
    """One row a batch: what `policy` chose while so many requests decoded together, and what it gained."""
    cost = LinearCoefficients.model_validate(profile["coefficients"])
    by_position = profile["acceptance"]
    alpha = acceptance if acceptance is not None else sum(by_position) / len(by_position)
    made = [
        [scenario(cost, batch, name, alpha, len(by_position), seed) for name in (policy, "off")] for batch in BATCHES
    ]
    return [_row(batch, *pair) for batch, pair in track(list(zip(BATCHES, made, strict=True)), "sweeping")]


def scenario(cost: LinearCoefficients, batch: int, policy: str, acceptance: float, k_max: int, seed: int) -> Scenario:
    """`batch` requests that come at once and decode together on the profiled machine."""
    return Scenario(
        name=f"batch {batch}",
        seed=seed,
        requests=batch,
        duration_s=0.01,
        arrivals=Constant(rps=1e5),
        prompt=Lengths(mean_tokens=PROMPT_TOKENS, cv=0),
        output=Lengths(mean_tokens=OUTPUT_TOKENS, cv=0),
        domains=(Domain(name="measured", acceptance=acceptance),),
        cost=_truth(cost, batch),
        engine=Engine(k_max=k_max),
        policy=PolicySpec(name=policy),
    )


def page(policy: str, rows: list[dict[str, Any]], origin: dict[str, Any]) -> str:
    """Plot and table; no script, nothing loaded from elsewhere."""
    title = html.escape(f"{policy}: chosen K by batch")
    cells = [
        [str(r["batch"]), f"{r['mean_k']:.2f}", f"{r['verified_per_request']:.2f}", f"{100 * r['gain']:+.1f} %"]
        for r in rows
    ]
    table = grid(("batch", "mean K drafted", "verified per request and step", "tokens/s over no speculation"), cells)
    source = html.escape(json.dumps(origin, indent=1))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
        f"<h1>{title}</h1>{svg(_plot(rows))}{table}<pre>{source}</pre></html>"
    )


def _row(batch: int, adaptive: Scenario, plain: Scenario) -> dict[str, Any]:
    chosen, off = (_result(s) for s in (adaptive, plain))
    steps = chosen["speculation"]
    return {
        "batch": batch,
        "mean_k": steps["mean_k"],
        "k_share": steps["k_share"],
        "verified_per_request": steps["verified_tokens"] / (steps["mean_batch"] * steps["steps"]),
        "gain": chosen["total"]["tokens_per_s"] / off["total"]["tokens_per_s"] - 1,
    }


def _result(made: Scenario) -> dict[str, Any]:
    done = Simulation(made)
    done.run(lambda _: None)
    return summary(done)


def _truth(c: LinearCoefficients, batch: int) -> Truth:
    """The profile's linear model; the time of context at its mean, per request; prompts as dear as what is decoded."""
    context = PROMPT_TOKENS + OUTPUT_TOKENS / 2
    request_s = c.request_s + c.target_alpha_s * context
    draft_request_s = c.draft_gamma_s + c.draft_alpha_s * context
    return Truth(
        source="a profile of `make profile`",
        target=Forward(fixed_s=c.target_delta_s, token_s=c.target_gamma_s + c.row_s, request_s=request_s),
        draft=Forward(fixed_s=c.draft_delta_s, token_s=c.catch_up_s, request_s=max(draft_request_s - c.catch_up_s, 0)),
        verify_first_s=c.verify_start_s,
        draft_first_s=c.draft_start_s,
        overhead_s=c.overhead_s,
        noise=NOISE,
        seats=batch,
        token_budget=max(2048, 32 * batch),
        kv_tokens=4096 * batch,
    )


def _plot(rows: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    batch = [r["batch"] for r in rows]
    left.plot(batch, [r["mean_k"] for r in rows], "o-", color=BLUE, label="drafted")
    left.plot(batch, [r["verified_per_request"] for r in rows], "o-", color=ORANGE, label="verified")
    left.set(xlabel="batch", ylabel="draft tokens per request and step", ylim=(0, None))
    left.legend(frameon=False)
    right.axhline(0, color=GREY, lw=1)
    right.plot(batch, [100 * r["gain"] for r in rows], "o-", color=BLUE)
    right.set(xlabel="batch", ylabel="tokens/s over no speculation (%)")
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set_xticks(batch, [str(b) for b in batch])
        axis.spines[["top", "right"]].set_visible(False)
    return figure
