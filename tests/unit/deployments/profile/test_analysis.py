from __future__ import annotations

import re

import pytest

from deployments.profile.analysis import Findings, profile_of, report_of
from deployments.profile.decisions import BATCHES, decisions
from deployments.profile.report import page
from tests.unit.deployments.profile.machine import rows, tokens
from tests.unit.deployments.profile.test_profile import KEY


@pytest.fixture(scope="module")
def found() -> Findings:
    sampled = [[*row[:8], row[8] + 1e-3 * row[0], *row[9:]] for row in rows() if row[0] == 8]
    return Findings(rows(0.02), sampled, tokens(domain="a") + tokens(domain="b", seed=1), decisions(5), 5)


def test_the_whole_way_from_steps_to_a_page(found: Findings) -> None:
    profile = profile_of(found, KEY, "2026-01-01")
    assert set(profile.held_out) == {"all", "batch 1-4", "batch 5-16", "batch over 16"}
    assert all(row["median_ape"] < 0.05 for row in profile.held_out.values())
    report = report_of(found, profile, "<model>", "profile.json")
    report |= {"provenance": {"seed": 0}, "compared": [{**report, "model": "other"}]}
    text = page(report)
    assert text.count("<svg") == 4
    assert "&lt;model&gt;" in text
    assert ">other<" in text
    assert not re.search(r"""(?:src|href)=["']?https?:|@import|<script""", text), "nothing is loaded from elsewhere"


def test_overheads(found: Findings) -> None:
    overheads = report_of(found, profile_of(found, KEY, ""), "m", "p")["overheads"]
    values = {name.split(",")[0].split(" (")[0]: value for name, value in overheads.items()}
    assert values["sampling at temperature 1"] == pytest.approx(1.0, rel=0.1)
    assert values["catch-up"] == pytest.approx(0.025, rel=0.1)
    assert values["switching from K = 0 back on"] > 0


def test_every_policy_and_batch_has_the_time_of_its_decisions(found: Findings) -> None:
    assert {(r["policy"], r["batch"]) for r in found.decisions} == {
        (p, b) for p in ("slo_goodput", "adaspec") for b in BATCHES
    }
    assert all(r["controller_ms"] > 0 and r["elimination_ms"] > 0 for r in found.decisions)
