import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.engine.requests import SLO_KEY
from deployments.errors import ApiError
from deployments.settings import IngressConfig
from deployments.slo import chosen, for_engine, request_view

CONFIG = IngressConfig.model_validate(
    {
        "classes": [
            {"name": "tight", "ttft_ms": 500, "tpot_ms": 50, "priority": 5, "overload": "shed"},
            {"name": "batch"},
        ],
        "default_class": "batch",
    }
)


def test_a_class_by_name_the_default_without_and_own_numbers_on_top() -> None:
    assert chosen({}, CONFIG).name == "batch"
    assert chosen({"x-slo-class": "tight"}, CONFIG) == CONFIG.classes[0]
    own = chosen({"x-slo-class": "tight", "x-slo-tpot-ms": "12.5"}, CONFIG)
    assert (own.ttft_ms, own.tpot_ms, own.priority) == (500, 12.5, 5)
    assert chosen({"x-slo-ttft-ms": "100"}, CONFIG).ttft_ms == 100


@pytest.mark.parametrize(
    ("header", "value", "fix"),
    [
        ("x-slo-class", "gold", "choose one of tight, batch"),
        ("x-slo-ttft-ms", "soon", "give milliseconds, more than 0"),
        ("x-slo-ttft-ms", "0", "give milliseconds, more than 0"),
        ("x-slo-tpot-ms", "-1", "give milliseconds, more than 0"),
        ("x-slo-tpot-ms", "nan", "give milliseconds, more than 0"),
        ("x-slo-tpot-ms", "1e9", "at most 600000"),
    ],
)
def test_a_bad_header_is_refused_by_name_value_and_fix(header: str, value: str, fix: str) -> None:
    with pytest.raises(ApiError) as caught:
        chosen({header: value}, CONFIG)
    assert (caught.value.status, caught.value.param) == (400, header)
    assert header in caught.value.message
    assert repr(value) in caught.value.message
    assert fix in caught.value.message


@given(st.text())
def test_any_text_is_a_number_in_range_or_refused(text: str) -> None:
    with contextlib.suppress(ApiError):
        ms = chosen({"x-slo-tpot-ms": text}, CONFIG).tpot_ms
        assert ms is not None
        assert 0 < ms < math.inf


def test_the_engine_is_told_priority_objective_and_to_count() -> None:
    given = {"prompt": "p", "stream": True, "priority": 7, "vllm_xargs": {"mine": 1}, "stream_options": {"x": 1}}
    told = for_engine(given, CONFIG.classes[0])
    assert told["priority"] == -5
    assert told["vllm_xargs"] == {"mine": 1, SLO_KEY: 50}
    assert told["stream_options"] == {"x": 1, "include_usage": True}
    assert given["vllm_xargs"] == {"mine": 1}
    quiet = for_engine({"prompt": "p"}, CONFIG.classes[1])
    assert quiet == {"prompt": "p", "priority": 0}


def test_fleet_decisions_see_seconds_and_no_objective_as_infinite() -> None:
    assert request_view(CONFIG.classes[0], 9.6).tpot_slo_s == 0.05
    assert request_view(CONFIG.classes[0], 9.6).prompt_tokens == 10
    assert request_view(CONFIG.classes[1], 1).ttft_slo_s == math.inf
