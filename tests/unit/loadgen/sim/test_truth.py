import numpy as np
import pytest

from loadgen.sim.fit import fitted
from loadgen.sim.truth import PRESETS, Forward
from policies.models import StepLoad


def test_a_pass_costs_the_larger_of_memory_and_compute() -> None:
    forward = Forward(fixed_s=1, weights_s=10, context_s=0.1, token_s=2)
    assert forward.seconds(tokens=3, batch=3, context_tokens=5) == pytest.approx(11.5)
    assert forward.seconds(tokens=30, batch=3, context_tokens=5) == pytest.approx(61)


@pytest.mark.parametrize("name", PRESETS)
def test_dearer_shapes_cost_more_and_no_draft_costs_nothing(name: str) -> None:
    truth = PRESETS[name]
    assert truth.draft_s(0, 8, 800, 500) == 0
    assert truth.draft_s(2, 8, 800, 0) > truth.draft_s(1, 8, 800, 0)
    assert truth.draft_s(1, 8, 800, 5000) > truth.draft_s(1, 8, 800, 0)
    each = truth.verify_each_s(np.array([8.0, 4000.0]), 8, 800)
    assert each == pytest.approx([truth.verify_s(8, 8, 800), truth.verify_s(4000, 8, 800)])
    assert each[1] > each[0]
    late = truth.model_copy(update={"verify_first_s": 0.002})
    assert late.verify_s(8, 8, 800, drafts=True) == pytest.approx(truth.verify_s(8, 8, 800) + 0.002)
    assert late.verify_s(8, 8, 800) == truth.verify_s(8, 8, 800)


def test_the_cpu_preset_gives_the_measured_steps_back() -> None:
    truth = PRESETS["cpu_270m"]
    for batch, plain_ms, five_ms in ((1, 30, 41), (16, 64, 199), (32, 98, 372)):
        assert truth.verify_s(batch, batch, 0) * 1e3 == pytest.approx(plain_ms, rel=0.15)
        five_s = truth.draft_s(5, batch, 0, 0) + truth.verify_s(6 * batch, batch, 0)
        assert five_s * 1e3 == pytest.approx(five_ms, rel=0.15)


@pytest.mark.parametrize("name", PRESETS)
def test_a_profiled_cost_model_is_near_the_truth(name: str) -> None:
    truth = PRESETS[name]
    cost = fitted(truth, 7).cost
    for batch, k in ((1, 0), (8, 3), (32, 1)):
        load = StepLoad(batch, 300 * batch)
        true_s = truth.draft_s(k, batch, 300 * batch, 0) + truth.verify_s(batch * (k + 1), batch, 300 * batch)
        assert float(cost.step_s(load, k, batch * k)) == pytest.approx(true_s, rel=0.2)
