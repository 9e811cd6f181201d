"""Every alert rule fires where it must and stays silent where it must not."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.promql import Evaluator, Labels

ROOT = Path(__file__).parents[4]
RULES = ROOT / "deploy/prometheus/alerts.yaml"
ALERTS: dict[str, str] = {
    rule["alert"]: rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}
HOURS = 7
Steady = dict[str, tuple[float, float]]
"""A selector -> its first value and what each minute adds."""

REPLICA = '{replica="r"}'
HEALTHY: Steady = {
    f"adaspec_position_accepted_total{REPLICA}": (0, 700),
    f"adaspec_position_reached_total{REPLICA}": (0, 1000),
    'adaspec_slo_requests_total{slo_class="chat",attained="true"}': (0, 199),
    'adaspec_slo_requests_total{slo_class="chat",attained="false"}': (0, 1),
    f"adaspec_step_time_predicted_ratio{REPLICA}": (1.1, 0),
    f"adaspec_step_seconds_total{REPLICA}": (0, 40),
    f"adaspec_fallback_active{REPLICA}": (0, 0),
    f"adaspec_config_refused{REPLICA}": (0, 0),
}
ILL: dict[str, tuple[Steady, set[str]]] = {
    "acceptance falls": ({f"adaspec_position_accepted_total{REPLICA}": (0, 200)}, {"AcceptanceCollapsed"}),
    "nothing is drafted": (
        {f"adaspec_position_{which}_total{REPLICA}": (500, 0) for which in ("accepted", "reached")},
        set(),
    ),
    "few drafts, all bad": (
        {
            f"adaspec_position_accepted_total{REPLICA}": (0, 0),
            f"adaspec_position_reached_total{REPLICA}": (0, 10),
        },
        set(),
    ),
    "a fifth is late": (
        {'adaspec_slo_requests_total{slo_class="chat",attained="false"}': (0, 50)},
        {"SloBurnsFast", "SloBurnsSlowly"},
    ),
    "a twelfth is late": (
        {'adaspec_slo_requests_total{slo_class="chat",attained="false"}': (0, 18)},
        {"SloBurnsSlowly"},
    ),
    "steps take twice as long as predicted": (
        {f"adaspec_step_time_predicted_ratio{REPLICA}": (0.5, 0)},
        {"CostModelDrifted"},
    ),
    "steps take half as long as predicted": (
        {f"adaspec_step_time_predicted_ratio{REPLICA}": (2.0, 0)},
        {"CostModelDrifted"},
    ),
    "the last steps before a long rest were slow": (
        {f"adaspec_step_time_predicted_ratio{REPLICA}": (0.5, 0), f"adaspec_step_seconds_total{REPLICA}": (900, 0)},
        set(),
    ),
    "no step yet": ({f"adaspec_step_time_predicted_ratio{REPLICA}": (float("nan"), 0)}, set()),
    "the policy failed": ({f"adaspec_fallback_active{REPLICA}": (1, 0)}, {"FallbackActive"}),
    "a config was refused": ({f"adaspec_config_refused{REPLICA}": (1, 0)}, {"ReloadRejected"}),
}


def parsed(selector: str) -> tuple[str, Labels]:
    name, _, labels = selector.rstrip("}").partition("{")
    return name, frozenset(re.findall(r'(\w+)="([^"]*)"', labels))


def firing(world: Steady) -> set[str]:
    minutes = range(HOURS * 60 + 1)
    series = {parsed(key): [(60.0 * m, a + m * b) for m in minutes] for key, (a, b) in world.items()}
    return {name for name, expr in ALERTS.items() if Evaluator(expr, series, HOURS * 3600.0).run()}


def test_a_healthy_fleet_is_silent() -> None:
    assert firing(HEALTHY) == set()


@pytest.mark.parametrize("ill", ILL)
def test_what_must_fire_fires_and_nothing_else(ill: str) -> None:
    change, expected = ILL[ill]
    assert firing(HEALTHY | change) == expected


def test_every_rule_has_a_world_in_which_it_fires() -> None:
    assert set().union(*(alerts for _, alerts in ILL.values())) == set(ALERTS)


def test_every_rule_names_its_cure() -> None:
    headings = re.findall(r"^#+ (.*)$", (ROOT / "docs/tuning.md").read_text(), flags=re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings}
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["cure"].removeprefix("docs/tuning.md#") in anchors


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Prometheus) is not installed")
def test_promtool_agrees(tmp_path: Path) -> None:
    """All worlds at once, each a replica and a class of its own, judged by Prometheus itself."""
    worlds = {"healthy": HEALTHY} | {name: HEALTHY | change for name, (change, _) in ILL.items()}
    series = [_series(key, name, *values) for name, world in worlds.items() for key, values in world.items()]
    cases = [_count(name, expr) for name, expr in ALERTS.items()]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": cases}
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _series(selector: str, world: str, first: float, each: float) -> dict[str, str]:
    own = selector.replace('replica="r"', f'replica="{world}"').replace('slo_class="chat"', f'slo_class="{world}"')
    n = HOURS * 60
    return {"series": own, "values": "NaN" + " NaN" * n if math.isnan(first) else f"{first}+{each}x{n}"}


def _count(alert: str, expr: str) -> dict[str, Any]:
    fires = sum(alert in expected for _, expected in ILL.values())
    samples = [{"labels": "{}", "value": fires}]
    return {"expr": f"count({expr})", "eval_time": f"{HOURS}h", "exp_samples": samples}
