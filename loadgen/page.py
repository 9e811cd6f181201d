"""A run as one self-contained HTML page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

import html
import io
import json
from typing import Any

from matplotlib.figure import Figure

from loadgen import plots
from loadgen.scenario import Scenario, dump
from loadgen.table import Table

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:72em;margin:2em auto;padding:0 1em;color:#1c2733}
h1{font-size:1.5em;margin-bottom:.2em} h2{font-size:1.1em;margin-top:2em} p{margin:.3em 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums} td,th{padding:.25em .8em;text-align:right}
th{font-weight:600;border-bottom:2px solid #ccd5de} td:first-child,th:first-child{text-align:left}
tr.total td{border-top:1px solid #ccd5de;font-weight:600} svg{width:100%;height:auto} pre{overflow:auto}
.bad{background:#fde8e6;border-left:4px solid #c0392b;padding:.5em 1em;margin:1em 0}
.quiet{color:#5b6b7b} .scroll{overflow-x:auto}
"""
TIMES = ("ttft_ms", "tpot_ms", "itl_ms", "e2e_ms")


def page(scenario: Scenario, numbers: dict[str, Any], rows: Table, origin: dict[str, Any]) -> str:
    """Verdict of the self-check, table by class, plots, and the numbers behind them."""
    title = html.escape(f"Load: {scenario.name}")
    body = "".join(
        (
            f"<h1>{title}</h1><p>{html.escape(numbers['plan'])}</p>",
            _check(numbers),
            _errors(numbers),
            "<h2>By class</h2>" + _classes(scenario, numbers),
            "<h2>Latency, ms</h2>" + _latency(numbers["total"]),
            "<h2>Over time</h2>" + svg(plots.timeline(numbers["over_time"])),
            "<h2>Distributions</h2>" + svg(plots.distributions(scenario, rows)),
            _details("Scenario", dump(scenario)),
            _details("Numbers", json.dumps({k: v for k, v in numbers.items() if k != "over_time"}, indent=1)),
            _details("Provenance", json.dumps(origin, indent=1)),
        )
    )
    return f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>{body}</html>"


def svg(figure: Figure) -> str:
    """The figure as markup."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def grid(head: tuple[str, ...], rows: list[list[str]]) -> str:
    """An HTML table of plain text."""
    lines = [f"<tr>{''.join(f'<th>{html.escape(c)}' for c in head)}"]
    totals = [" class=total" if row[0] == "total" else "" for row in rows]
    cells = ["".join(f"<td>{html.escape(c)}" for c in row) for row in rows]
    lines += [f"<tr{total}>{row}" for total, row in zip(totals, cells, strict=True)]
    return f"<div class=scroll><table>{''.join(lines)}</table></div>"


def figure(value: float | None) -> str:
    """Four digits, or a dash."""
    return "-" if value is None else f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _check(numbers: dict[str, Any]) -> str:
    check = numbers["check"]
    if check["problems"]:
        return f"<p class=bad><b>Invalid run.</b> {html.escape('; '.join(check['problems']))}</p>"
    lag = check["send_lag_ms"]
    return (
        f"<p class=quiet>Generator: send lag p50 {figure(lag['p50'])} ms, p99 {figure(lag['p99'])} ms; "
        f"rate off by {100 * check['rate_error']:.2f} %. Latencies count from the intended start.</p>"
    )


def _errors(numbers: dict[str, Any]) -> str:
    if not numbers["errors"]:
        return ""
    text = ", ".join(f"{count} x {kind}" for kind, count in sorted(numbers["errors"].items()))
    return f"<p class=bad><b>Errors:</b> {html.escape(text)}</p>"


def _classes(scenario: Scenario, numbers: dict[str, Any]) -> str:
    head = (
        "class",
        "SLO: TTFT / TPOT ms",
        "requests",
        "finished",
        "attainment",
        "goodput tok/s",
        "tokens/s",
        "P90 TPOT ms",
    )
    limits = {c.name: f"{c.ttft_ms:g} / {c.tpot_ms:g}" for c in scenario.classes}
    rows = []
    for name, row in (*numbers["classes"].items(), ("total", numbers["total"])):
        counts = [limits.get(name, ""), str(row["requests"]), str(row["finished"]), f"{100 * row['attainment']:.1f} %"]
        rates = [figure(row[key]) for key in ("goodput_tokens_per_s", "tokens_per_s")]
        rows.append([name, *counts, *rates, figure(row["tpot_ms"]["p90"])])
    return grid(head, rows)


def _latency(total: dict[str, Any]) -> str:
    names = (*TIMES, "ttft_from_send_ms", "e2e_from_send_ms")
    labels = [n.removesuffix("_ms").replace("_", " ").replace("ttft", "TTFT").replace("e2e", "E2E") for n in names]
    labels = [label.upper() if label in {"tpot", "itl"} else label for label in labels]
    rows = [[label, *map(figure, total[name].values())] for label, name in zip(labels, names, strict=True)]
    return grid(("", *total["ttft_ms"]), rows)


def _details(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary><pre>{html.escape(text)}</pre></details>"
