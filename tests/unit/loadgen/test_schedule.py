import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.schedule import build
from tests.unit.loadgen.scenarios import scenario
from tests.unit.loadgen.test_scenario import ARRIVALS


@settings(max_examples=40, deadline=None)
@given(ARRIVALS, st.integers(0, 99))
def test_a_plan_is_in_order_within_its_time_and_repeatable(arrivals: Any, seed: int) -> None:
    spec = scenario(arrivals=arrivals, seed=seed, requests=50)
    try:
        plan = build(spec)
    except ValueError as error:
        assert "raise the rate" in str(error)  # noqa: PT017 - a rate so low that nothing arrives is refused
        return
    at = [r.at_s for r in plan.requests]
    assert at == sorted(at)
    assert 0 <= at[0] <= at[-1] < spec.duration_s
    assert [r.id for r in plan.requests] == list(range(len(at)))
    assert build(spec) == plan


@settings(max_examples=40, deadline=None)
@given(st.floats(1, 4000), st.integers(1, 200), st.floats(0.1, 2))
def test_prefill_work_is_bounded_by_one_factor(prompt: float, output: int, cost: float) -> None:
    lengths = {"mean_tokens": prompt, "cv": 0.5, "max_tokens": 100_000}
    prompts = {"tokens": lengths, "prefill_token_cost": cost, "most_prefill": 0.5}
    plan = build(scenario(prompts=prompts, output={"mean_tokens": output, "cv": 0}))
    assert cost * plan.prompt_tokens <= 0.5 * plan.output_tokens * (1 + 1e-9)
    assert plan.prompt_factor <= 1
    assert f"x {plan.prompt_factor:.3g}" in plan.text


def test_a_child_seed_a_name() -> None:
    """Another number of classes leaves times, prompts and lengths alone."""
    one = build(scenario(classes=[{"name": "fast"}]))
    two = build(scenario())
    assert [(r.at_s, r.prompt, r.max_tokens) for r in one.requests] == [
        (r.at_s, r.prompt, r.max_tokens) for r in two.requests
    ]
    assert {r.slo_class for r in two.requests} == {"fast", "slow"}
    other = build(scenario(seed=1))
    assert [r.prompt for r in other.requests] != [r.prompt for r in two.requests]


def test_a_trace_brings_its_lengths(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n5.0,40,20\n5.5,20,30\n9.0,9,9\n")
    plan = build(scenario(arrivals={"kind": "replay", "path": str(path)}, output={"mean_tokens": 1, "max_tokens": 25}))
    assert [(r.at_s, r.max_tokens) for r in plan.requests] == [(0.0, 20), (0.5, 25)]
    lengths = np.array([len(r.prompt) for r in plan.requests])
    assert lengths / 3.2 == pytest.approx(np.array([40, 20]) * plan.prompt_factor, abs=1)


def test_prompts_of_any_file(tmp_path: Path) -> None:
    path = tmp_path / "bench.jsonl"
    path.write_text("\n".join(json.dumps({"question_id": i, "turns": [f"question {i} " * 40]}) for i in range(3)))
    plan = build(scenario(prompts={"path": str(path), "most_prefill": 100}))
    assert {r.prompt for r in plan.requests} == {f"question {i} " * 40 for i in range(3)}
