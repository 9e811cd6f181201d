import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen import results
from loadgen.outcome import Outcome, unfinished
from loadgen.schedule import Schedule, build
from loadgen.summary import quantiles, summary
from tests.unit.loadgen.scenarios import outcome, scenario

PLAN: Schedule = build(scenario())


def outcomes(**changes: Any) -> list[Outcome]:
    return [outcome(r.id, r.at_s, slo_class=r.slo_class, **changes) for r in PLAN.requests]


def test_figures_of_a_known_run() -> None:
    found = summary(PLAN, outcomes(), [])
    total, n = found["total"], len(PLAN.requests)
    assert found["valid"]
    assert total["ttft_ms"]["p50"] == pytest.approx(100)
    assert total["tpot_ms"]["p99"] == pytest.approx(10)
    assert total["itl_ms"]["p90"] == pytest.approx(10)
    assert total["e2e_ms"]["p50"] == pytest.approx(140)
    assert total["attainment"] == 1
    assert total["tokens_per_s"] == total["goodput_tokens_per_s"] == pytest.approx(5 * n / found["wall_s"])
    assert found["classes"]["fast"]["requests"] + found["classes"]["slow"]["requests"] == n


def test_only_attained_tokens_are_goodput_and_an_error_is_never_attained() -> None:
    late = summary(PLAN, outcomes(ttft_s=0.3), [])
    assert late["classes"]["fast"]["attainment"] == late["classes"]["fast"]["goodput_tokens_per_s"] == 0
    assert late["classes"]["slow"]["attainment"] == 1  # it has no limits
    failed = summary(PLAN, outcomes(error="http 429"), [])
    assert failed["total"]["attainment"] == failed["total"]["finished"] == 0
    assert failed["errors"] == {"http 429": len(PLAN.requests)}


def test_an_answer_without_text_is_served_when_it_ends() -> None:
    silent = [dataclasses.replace(o, chunks_s=(), output_tokens=1) for o in outcomes()]
    found = summary(PLAN, silent, [])["total"]
    assert found["ttft_ms"]["p50"] == found["e2e_ms"]["p50"]
    assert found["attainment"] == 1
    failed = [dataclasses.replace(o, error="cut off") for o in silent]
    assert summary(PLAN, failed, [])["total"]["attainment"] == 0


def test_latency_counts_from_the_intended_start_and_from_the_send() -> None:
    rows = [dataclasses.replace(o, sent_s=o.at_s + 0.06) for o in outcomes()]
    found = summary(PLAN, rows, [])
    assert found["total"]["ttft_ms"]["p50"] == pytest.approx(100)
    assert found["total"]["ttft_from_send_ms"]["p50"] == pytest.approx(40)
    assert not found["valid"]
    assert "send lag 60.0 ms > 10 ms" in found["check"]["problems"][0]


def test_a_run_that_sent_too_slowly_or_too_little_is_invalid() -> None:
    slow = [dataclasses.replace(o, sent_s=1.1 * o.at_s) for o in outcomes()]
    assert any("rate off by 10.0 %" in p for p in summary(PLAN, slow, [])["check"]["problems"])
    some = [*outcomes()[:-3], *(unfinished(r, r.at_s) for r in PLAN.requests[-3:])]
    assert any("3 of 20 requests were never sent" in p for p in summary(PLAN, some, [])["check"]["problems"])


def test_a_counted_run_ends_with_its_last_answer() -> None:
    plan = build(scenario(duration_s=600, requests=20))
    rows = [outcome(r.id, r.at_s, slo_class=r.slo_class) for r in plan.requests]
    assert summary(plan, rows, [])["wall_s"] == pytest.approx(rows[-1].end_s)
    fewer = build(scenario(duration_s=0.5, requests=20))
    assert summary(fewer, rows[: len(fewer.requests)], [])["wall_s"] >= 0.5


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=200))
def test_percentiles_are_exact(values: list[float]) -> None:
    found = quantiles(np.array([*values, np.nan]))
    assert found["p50"] == pytest.approx(float(np.median(values)), abs=1e-3)
    assert (found["p99"] or 0.0) <= max(values) + 1e-3


def test_counters_and_latencies_share_their_intervals() -> None:
    samples = [{"at_s": t, "generation_tokens_total": 40 * t} for t in (-0.5, 0.5, 1.5)]
    time = summary(PLAN, outcomes(), samples)["over_time"]
    assert time["arrived"] == [sum(r.at_s < 0.5 for r in PLAN.requests), sum(r.at_s >= 0.5 for r in PLAN.requests)]
    assert time["tokens_per_s"] == pytest.approx([40, 40])
    assert time["ttft_p50_ms"] == pytest.approx([100, 100])


def test_a_folder_reads_back_and_its_page_stands_alone(tmp_path: Path) -> None:
    rows = outcomes()[:-1]
    results.write(tmp_path, PLAN, rows, [], ["locust", "-f", "x"])
    back = results.read(tmp_path)
    assert back.scenario == PLAN.scenario
    assert back.result["errors"] == {"unfinished": 1}
    assert len(back.table) == len(PLAN.requests)
    assert len((tmp_path / "requests.csv").read_text().splitlines()) == len(PLAN.requests) + 1
    assert json.loads((tmp_path / "provenance.json").read_text())["command"] == "locust -f x"
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "src=" not in page
    assert "Invalid run" in page
    with pytest.raises(ValueError, match="no finished run"):
        results.read(tmp_path / "nowhere")
