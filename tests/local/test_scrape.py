"""Every metric that the dashboard or an alert names is in a live scrape, before any request and after."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deployments.observe.grafana import ROWS
from deployments.settings import AppArgs
from tests.promql import metrics

ROOT = Path(__file__).parents[2]
EXPRESSIONS = [expr for panels in ROWS.values() for panel in panels for _, expr in panel.lines] + [
    rule["expr"]
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]


@pytest.fixture
def args() -> AppArgs:
    return AppArgs.model_validate({"engine": {"kind": "fake", "step_ms": 1}, "tracing": {"exporter": "off"}})


async def scraped(http: httpx.AsyncClient) -> dict[str, float]:
    """Sample names with their sums; reading them also checks that the whole text is one well-formed exposition."""
    text = (await http.get("/metrics")).text
    types = re.findall(r"^# TYPE (\S+)", text, flags=re.MULTILINE)
    assert len(types) == len(set(types)), "a family appears twice"
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


async def test_every_metric_named_exists_before_the_first_request(
    http: httpx.AsyncClient, handles: tuple[Any, Any]
) -> None:
    there = set(await scraped(http))
    assert all(metrics(expression) for expression in EXPRESSIONS)
    assert {name for expression in EXPRESSIONS for name in metrics(expression)} - there == set()


async def test_traffic_adds_no_name_and_moves_the_figures(http: httpx.AsyncClient, handles: tuple[Any, Any]) -> None:
    before = await scraped(http)
    answer = await http.post("/v1/completions", json={"prompt": "p", "max_tokens": 8, "stream": True})
    assert answer.status_code == 200
    await handles[0].status.remote()
    after = await scraped(http)
    new = {name for name in after if name.startswith("adaspec")} - set(before)
    assert new <= {"adaspec_slo_attainment"}  # a share of none is no number
    for name in ("adaspec_steps_total", "adaspec_emitted_tokens_total", "adaspec_goodput_tokens_total"):
        assert before[name] == 0 < after[name]
    assert after["adaspec_slo_objectives_total"] == 2
