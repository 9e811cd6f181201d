"""Traces, the live page's events and the metrics across processes: proxy, ingress, monitor, two replicas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.observe.grafana import ROWS
from tests.cluster.service import Service, config, eventually
from tests.cluster.streams import PATH
from tests.promql import metrics
from tests.spans import SAMPLED, asked_for

NAMES = {"POST /v1/completions", "admission", "route", "replica", "queueing", "prefill", "decode"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spans")


@pytest.fixture(scope="module", autouse=True)
def two_replicas(service: Service, folder: Path) -> None:
    made = config(replicas=2, engine={"step_ms": 5, "draft_ms": 0.2, "k_max": 4})
    args = made["applications"][0]["args"]
    args["tracing"] = {"exporter": "file", "file": str(folder / "{service}-{pid}.jsonl"), "every_s": 0.1}
    service.deploy(made)
    service.ready(2)


def frames(service: Service, name: str) -> Iterator[Any]:
    """Data of the page's events of one kind, until the caller has enough."""
    with service.http.stream("GET", "/dashboard/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind == name:
                yield json.loads(line.removeprefix("data: "))


def test_one_trace_through_every_process(service: Service, folder: Path) -> None:
    body = {"prompt": "a b", "max_tokens": 30, "stream": True}
    assert service.http.post(PATH, json=body, headers=SAMPLED).status_code == 200
    found = eventually(lambda: (seen := asked_for(folder)).keys() >= NAMES and seen)
    names = {span["context"]["span_id"]: name for name, span in found.items()}
    assert names[found["replica"]["parent_id"]] == "route"
    assert names[found["decode"]["parent_id"]] == "replica"
    services = {found[name]["resource"]["attributes"]["service.name"] for name in ("route", "decode")}
    assert services == {"adaspec-ingress", "adaspec-replica"}
    assert found["decode"]["attributes"]["adaspec.accepted_tokens"] > 0


def test_the_page_and_its_events_come_through_the_proxy(service: Service) -> None:
    page = service.http.get("/dashboard")
    assert page.headers["content-type"].startswith("text/html")
    for name in ("style.css", "app.js", "charts.js"):
        assert f"dashboard/{name}" in page.text or name == "charts.js"
        assert service.http.get(f"/dashboard/{name}").status_code == 200
    seen = next(frames(service, "frame"))
    assert {r["policy"] for r in seen["replicas"]} == {"fixed"}
    assert len(seen["replicas"]) == 2


def test_every_metric_of_the_dashboard_is_scraped_from_both_replicas(service: Service) -> None:
    named = set().union(*(metrics(expr) for panels in ROWS.values() for panel in panels for _, expr in panel.lines))
    text = service.http.get("/metrics").text
    assert [name for name in named if f"\n{name}" not in text] == []
    assert len(service.samples("adaspec_batch")) == 2
