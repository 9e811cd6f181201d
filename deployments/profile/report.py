"""The report of a profile: one self-contained page, and the numbers behind it."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

from deployments.profile import plots

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1b2733;max-width:64em;margin:2.5em auto;padding:0 1em}
h1{font-size:1.7em;margin-bottom:.1em}h2{font-size:1.2em;margin:2em 0 .4em;border-top:1px solid #dde3e8;padding-top:1em}
p{max-width:50em}.note{color:#5a6874}svg{width:100%;height:auto}
table{border-collapse:collapse;margin:.6em 0 1em}
td,th{padding:.2em .9em;text-align:right;border-bottom:1px solid #e6eaee}
th{font-weight:600}td:first-child,th:first-child{text-align:left;padding-left:0}
pre{background:#f4f6f8;padding:1em;overflow-x:auto;border-radius:4px}
"""


def page(found: dict[str, Any]) -> str:
    """HTML of what `deployments.profile.__main__.analyse` found; no script, nothing loaded from elsewhere."""
    key = found["profile"]["key"]
    title = f"Profile of {html.escape(found['model'])}"
    parts = (
        _section("What to do", _advice(found)),
        _section("Time model", _time_model(found)),
        _section("Draft confidence and real acceptance", _confidence(found)),
        _section("What deciding costs", _decisions(found)),
        _section("Where this comes from", _table(("", ""), found["provenance"].items())),
    )
    numbers = html.escape(json.dumps({k: v for k, v in found.items() if k != "points"}, indent=1))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
        f"<h1>{title}</h1><p class=note>{html.escape(key['device'])} · vLLM {html.escape(key['vllm'])} · "
        f"{html.escape(found['profile']['made_at'])}</p>{''.join(parts)}"
        f"<details><summary>All numbers</summary><pre>{numbers}</pre></details></html>"
    )


def _advice(found: dict[str, Any]) -> str:
    rows = found["advice"]
    table = _table(
        ("batch", "best static K", "gain over K = 0", "breaks even at acceptance", "tokens/s", "tokens/s at K = 0"),
        [
            (
                row["batch"],
                row["best_k"],
                _percent(row["gain"]),
                "never" if row["break_even_acceptance"] is None else f"{row['break_even_acceptance']:.2f}",
                f"{row['tokens_per_s']:.0f}",
                f"{row['plain_tokens_per_s']:.0f}",
            )
            for row in rows
        ],
    )
    acceptance = found["confidence"]["all"]["acceptance"]
    figure = plots.svg(plots.advice(rows, acceptance))
    say = (
        f"<p>Predicted for {found['advice_context_tokens']} context tokens a request and the acceptance measured here "
        f"({acceptance:.2f} of the tokens put to the test). Batches beyond "
        f"{found['largest_batch']} are extrapolated.</p>"
    )
    return f"{say}{figure}{table}<pre>{html.escape(found['policy_block'])}</pre>"


def _time_model(found: dict[str, Any]) -> str:
    say = (
        "<p>One step of <i>B</i> requests: overhead + target (α · context tokens + γ · tokens in the pass + δ + per "
        "request + per token with logits + a start where drafts are verified) + K draft passes (context, batch, δ) + "
        "a start + catch-up of the draft's cache. Batches that are no power of two were never fitted: "
        "their errors are below.</p>"
        f"<p>Other processes had the worker's core for {_percent(found['disturbed_share'])} of the measured time; that "
        "time is taken off. A shape's time is the lower quartile of its steps: neighbours only ever add.</p>"
    )
    columns = ("shapes", "steps", "r2", "mae_ms", "median_ape", "p90_ape", "bias")
    heads = ("held-out shapes", "shapes", "steps", "R²", "MAE ms", "median error", "p90 error", "median bias")
    errors = [
        (name, *(_percent(row[c]) if c in columns[4:] else row[c] for c in columns))
        for name, row in found["profile"]["held_out"].items()
    ]
    coefficients = [(name, f"{value:.3e}") for name, value in found["profile"]["coefficients"].items()]
    overheads = [
        (name, "not measured" if value is None else f"{value:.3f}") for name, value in found["overheads"].items()
    ]
    return (
        f"{say}{plots.svg(plots.time_model(found['points']))}{_table(heads, errors)}"
        f"<h3>Overheads</h3>{_table(('', 'ms'), overheads)}"
        f"<details><summary>Coefficients</summary>{_table(('', 'seconds'), coefficients)}</details>"
    )


def _confidence(found: dict[str, Any]) -> str:
    confidence = found["confidence"]
    targets = [(found["model"], confidence), *((other["model"], other["confidence"]) for other in found["compared"])]
    rows = [
        (model, name, *_correlation(group))
        for model, its in targets
        for name, group in {"all": its["all"], **its["domains"]}.items()
    ]
    heads = ("target", "domain", "tokens", "acceptance", "confidence", "calibration error", "R by token", "R of bins")
    say = (
        "<p>Held-out text continued by the real engine. A draft token counts if it was verified and every token before "
        "it was accepted. R by token correlates confidence with a yes or no, so it cannot reach 1; R of bins is "
        f"what papers plot. {_spread([its for _, its in targets])}</p>"
    )
    return f"{say}{plots.svg(plots.confidence(confidence))}{_table(heads, rows)}"


def _spread(targets: list[dict[str, Any]]) -> str:
    """How robust the correlation is, over every domain of every target."""
    groups = [group for its in targets for group in its["domains"].values() if group["r"] and group["r_of_bins"]]
    if not groups:
        return "Too little was tried to correlate."
    ranges = {name: (min(g[name] for g in groups), max(g[name] for g in groups)) for name in ("r", "r_of_bins")}
    by_token, of_bins = (f"{low:.2f} to {high:.2f}" for low, high in ranges.values())
    return f"Over {len(targets)} targets and their domains: R by token {by_token}, R of bins {of_bins}."


def _correlation(group: dict[str, Any]) -> Iterable[str]:
    yield str(group["tokens"])
    for name in ("acceptance", "confidence", "calibration_error", "r", "r_of_bins"):
        yield "-" if group[name] is None else f"{group[name]:.3f}"


def _decisions(found: dict[str, Any]) -> str:
    rows = found["decisions"]
    table = _table(
        ("policy", "batch", "plan and stops ms", "elimination ms", "of a step here", "K"),
        [
            (r["policy"], r["batch"], r["controller_ms"], r["elimination_ms"], _percent(r["share_of_step"], 2), r["k"])
            for r in rows
        ],
    )
    say = (
        "<p>CPU time, medians, in a loop without an engine in which drafting always pays. The share is of this "
        "machine's predicted step.</p>"
    )
    return f"{say}{plots.svg(plots.decisions(rows))}{table}"


def _section(title: str, body: str) -> str:
    return f"<h2>{title}</h2>{body}"


def _table(heads: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    head = "".join(f"<th>{html.escape(str(h))}" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}" for cell in row) for row in rows)
    return f"<table><tr>{head}{body}</table>"


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"
