from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.api import PolicyContext, StepView
from policies.estimators import default_models
from policies.registry import CONTROLLERS, PolicyError, PolicySpec, build, check
from tests.unit.policies.worlds import make, make_view

pytestmark = pytest.mark.unit

WRAPPERS = ("probed", "steady")
PLAIN = sorted(set(CONTROLLERS) - set(WRAPPERS))


def twice_as_bold_when_alone(view: StepView) -> int:
    return 4 if view.batch == 1 else 2


@pytest.mark.parametrize("name", PLAIN)
def test_every_policy_builds_with_its_defaults_under_its_own_name(name: str) -> None:
    policy = make(name)
    assert policy.name == name
    assert policy.Params.model_fields is not None
    assert type(policy).__doc__


@pytest.mark.parametrize("name", PLAIN)
def test_every_parameter_says_what_it_is(name: str) -> None:
    unsaid = [f for f, field in make(name).Params.model_fields.items() if not field.description]
    assert unsaid == []


def test_a_function_by_its_import_path() -> None:
    policy = make(f"{__name__}:twice_as_bold_when_alone")
    assert policy.plan(make_view(1)).k == 4
    assert policy.plan(make_view(2)).k == 2
    assert policy.plan(make_view(2)).reason == "twice_as_bold_when_alone"


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("adspec", {}, "unknown policy 'adspec'; choose one of adaspec, aimd"),
        ("no.such.module:thing", {}, r"cannot import 'no\.such\.module:thing': ModuleNotFoundError"),
        ("policies.base:nothing", {}, "cannot import"),
        ("policies.registry:CONTROLLERS", {}, "neither a BasePolicy subclass nor a function"),
        ("fixed", {"kk": 3}, r"policy\.params\.kk: 3 refused for 'fixed': Extra inputs"),
        ("fixed", {"k": 65}, r"policy\.params\.k: 65 refused for 'fixed'.*less than or equal to 64"),
        ("schedule", {"ranges": [[1, 4, 3]], "up_to": {4: 3}}, "either ranges or up_to"),
        ("schedule", {"ranges": [[5, 4, 3]]}, "must rise"),
        ("ema_tiers", {"tiers": {1: [3, 1]}}, "rising K"),
    ],
)
def test_errors_name_the_field_the_value_and_the_fix(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        check(PolicySpec(name=name, params=params), k_max=8)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 100) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_any_parameters_build_or_give_one_clean_error(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(CONTROLLERS)))
    fields = sorted(make(name).Params.model_fields) if name in PLAIN else ["policy", "every", "dwell"]
    params = data.draw(st.dictionaries(st.sampled_from(fields or ["x"]), JSON, max_size=3))
    spec, context = PolicySpec(name=name, params=params), PolicyContext(8, default_models(8))
    try:
        policy = build(spec, context)
    except PolicyError:
        with pytest.raises(PolicyError, match=r"^policy\.(name|params)"):
            build(spec, context)
    else:
        assert policy.plan(make_view(2)).k >= 0
