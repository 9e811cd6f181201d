"""Writes the Grafana dashboard: `python -m deployments.observe.grafana`. Panels are data here, JSON in the file."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "deploy/grafana/adaspec.json"
WIDTH, HEIGHT = 8, 7
R = '{replica=~"$replica"}'
C = '{slo_class=~"$slo_class"}'
MET = 'attained="true"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: (legend, PromQL) of each line, and what an operator reads from it."""

    title: str
    lines: tuple[tuple[str, str], ...]
    unit: str
    reads: str
    kind: str = "timeseries"


def _rate(metric: str, by: str = "replica", labels: str = R) -> str:
    return f"sum by ({by}) (rate({metric}{labels}[$__rate_interval]))"


def _share(part: str, whole: str, by: str = "replica", labels: str = R, only: str = "") -> str:
    """Rate of `part`, of those with the label `only`, over the rate of `whole`."""
    chosen = f"{labels[:-1]},{only}}}" if only else labels
    return f"{_rate(part, by, chosen)} / {_rate(whole, by, labels)}"


def _quantile(q: str, metric: str) -> str:
    return f"histogram_quantile({q}, sum by (le, slo_class) (rate({metric}_bucket{C}[$__rate_interval])))"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Speculation": (
        Panel(
            "K over time",
            (("K={{k}}", _rate("adaspec_steps_total", "k")),),
            "ops",
            "Decode steps a second by the K drafted.",
        ),
        Panel(
            "Why",
            (("{{reason}}", _rate("adaspec_decisions_total", "reason")),),
            "ops",
            "Decisions a second by the policy's reason.",
        ),
        Panel(
            "Acceptance",
            (
                (
                    "{{replica}}",
                    _share("adaspec_position_accepted_total", "adaspec_position_reached_total"),
                ),
            ),
            "percentunit",
            "Accepted / (accepted + rejected). A fall with unchanged traffic: the draft no longer fits.",
        ),
        Panel(
            "Acceptance by position",
            (
                (
                    "{{position}}",
                    _share("adaspec_position_accepted_total", "adaspec_position_reached_total", "position"),
                ),
            ),
            "percentunit",
            "Of slots that were reached. A steep fall: a shorter K loses little.",
        ),
        Panel(
            "Waste",
            (
                (
                    "{{replica}}",
                    "1 - " + _share("adaspec_accepted_tokens_total", "adaspec_drafted_tokens_total"),
                ),
            ),
            "percentunit",
            "Share of drafted tokens that became no output.",
        ),
        Panel(
            "Early stops and catch-ups",
            (
                ("stops {{replica}}", _rate("adaspec_early_stops_total")),
                ("catch-ups {{replica}}", _rate("adaspec_catch_ups_total")),
            ),
            "ops",
            "Drafting stopped by the policy; passes that filled holes in the draft's cache.",
        ),
    ),
    "Objectives": (
        Panel(
            "Attainment",
            (
                (
                    "{{slo_class}}",
                    _share("adaspec_slo_requests_total", "adaspec_slo_requests_total", "slo_class", C, MET),
                ),
            ),
            "percentunit",
            "Requests within TTFT and mean TPOT.",
        ),
        Panel(
            "Attainment by objective",
            (
                (
                    "{{slo_class}} {{objective}}",
                    _share(
                        "adaspec_slo_objectives_total", "adaspec_slo_objectives_total", "slo_class, objective", C, MET
                    ),
                ),
            ),
            "percentunit",
            "Which of the two is missed.",
        ),
        Panel(
            "Goodput",
            (("{{slo_class}}", _rate("adaspec_goodput_tokens_total", "slo_class", C)),),
            "short",
            "Tokens a second of requests within their objectives.",
        ),
        Panel(
            "TTFT p90",
            (("{{slo_class}}", _quantile("0.9", "gen_ai_server_time_to_first_token_seconds")),),
            "s",
            "From arrival at the ingress.",
        ),
        Panel(
            "TPOT p90",
            (("{{slo_class}}", _quantile("0.9", "gen_ai_server_time_per_output_token_seconds")),),
            "s",
            "Mean of a request after its first token.",
        ),
        Panel(
            "Admission",
            (
                ("{{slo_class}} {{action}}", _rate("adaspec_admissions_total", "slo_class, action", C)),
                ("waiting {{slo_class}}", f"sum by (slo_class) (adaspec_door_waiting{C})"),
            ),
            "short",
            "Served and shed a second; waiting at the door.",
        ),
    ),
    "Engine": (
        Panel(
            "Step time, measured and predicted",
            (
                ("measured {{replica}}", f"adaspec_step_time_recent_seconds{R}"),
                (
                    "predicted {{replica}}",
                    f"adaspec_step_time_recent_seconds{R} * adaspec_step_time_predicted_ratio{R}",
                ),
            ),
            "s",
            "The cost model at work: lines apart mean K is chosen by wrong times.",
        ),
        Panel(
            "Deciding, a step",
            (("{{replica}}", _share("adaspec_decision_seconds_total", "adaspec_steps_total")),),
            "s",
            "CPU time of the policy's hooks. Its limit is 2 ms.",
        ),
        Panel(
            "Where steps go",
            (
                (
                    "draft {{replica}}",
                    _share("adaspec_draft_seconds_total", "adaspec_step_seconds_total"),
                ),
                (
                    "verify {{replica}}",
                    _share("adaspec_verify_seconds_total", "adaspec_step_seconds_total"),
                ),
            ),
            "percentunit",
            "Share of step time drafting and verifying.",
        ),
        Panel(
            "Batch and queue",
            (
                ("batch {{replica}}", f"adaspec_batch{R}"),
                ("waiting {{replica}}", f"adaspec_waiting{R}"),
            ),
            "short",
            "As of each replica's last step.",
        ),
        Panel(
            "Output",
            (("{{replica}}", _rate("adaspec_emitted_tokens_total")),),
            "short",
            "Tokens a second.",
        ),
        Panel(
            "Free KV cache",
            (("{{replica}}", f"adaspec_free_kv_ratio{R}"),),
            "percentunit",
            "Falls to 0: preemptions follow.",
        ),
    ),
    "Safety": (
        Panel(
            "Fallback active", (("{{replica}}", f"adaspec_fallback_active{R}"),), "short", "1: no speculation.", "stat"
        ),
        Panel("Faults", (("{{kind}}", _rate("adaspec_fallbacks_total", "kind")),), "ops", "By kind."),
        Panel(
            "Reloads",
            (("{{outcome}} {{replica}}", f"sum by (outcome, replica) (increase(adaspec_reloads_total{R}[$__range]))"),),
            "short",
            "Applied and rejected in the time shown.",
            "stat",
        ),
    ),
}


def document() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "title": "adaspec: speculation under load",
        "uid": "adaspec",
        "tags": ["adaspec", "vllm"],
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "schemaVersion": 39,
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                _variable("replica", "adaspec_batch"),
                _variable("slo_class", "adaspec_slo_requests_total"),
            ]
        },
        "panels": list(_laid_out()),
    }


def _laid_out() -> list[dict[str, Any]]:
    placed: list[dict[str, Any]] = []
    y = 0
    for title, panels in ROWS.items():
        placed.append({"type": "row", "title": title, "id": len(placed) + 1, "gridPos": _at(0, y, 24, 1), "panels": []})
        y += 1
        for i, panel in enumerate(panels):
            at = _at(WIDTH * (i % 3), y + HEIGHT * (i // 3), WIDTH, HEIGHT)
            placed.append(_panel(panel, len(placed) + 1, at))
        y += HEIGHT * -(-len(panels) // 3)
    return placed


def _panel(panel: Panel, number: int, at: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.reads,
        "datasource": source,
        "gridPos": at,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}} if panel.kind == "timeseries" else {},
        "targets": [
            {"refId": chr(65 + i), "datasource": source, "expr": expr, "legendFormat": legend}
            for i, (legend, expr) in enumerate(panel.lines)
        ],
    }


def _variable(name: str, metric: str) -> dict[str, Any]:
    query = f"label_values({metric}, {name})"
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": name},
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


def _at(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def text() -> str:
    """The document as written to the file."""
    return json.dumps(document(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
    sys.stdout.write(f"{FILE.name}: written\n")
