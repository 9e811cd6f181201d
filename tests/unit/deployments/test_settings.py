from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from deployments.problems import Problem, of_policy, of_validation
from deployments.settings import USER_CONFIGS, AppArgs, IngressConfig, MonitorConfig, ReplicaConfig
from policies.registry import PolicySpec

LIVE = [IngressConfig, MonitorConfig, ReplicaConfig]


def problems(model: type[BaseModel], given: Any) -> list[Problem]:
    try:
        model.model_validate(given)
    except ValidationError as error:
        return of_validation(error)
    return []


def refusal(model: type[BaseModel], given: Any) -> list[str]:
    return [str(problem) for problem in problems(model, given)]


@pytest.mark.parametrize("model", LIVE)
def test_defaults_survive_a_round_trip_through_json(model: type[BaseModel]) -> None:
    assert model.model_validate_json(model().model_dump_json()) == model()


@pytest.mark.parametrize("model", LIVE)
@given(key=st.text(min_size=1), value=st.integers())
def test_any_unknown_key_is_refused_by_name(model: type[BaseModel], key: str, value: int) -> None:
    if key not in model.model_fields:
        assert refusal(model, {key: value}) == [f"{key}: {value!r} refused: Extra inputs are not permitted"]


@pytest.mark.parametrize("model", LIVE)
@given(junk=st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.integers())))
def test_junk_validates_or_is_refused_cleanly(model: type[BaseModel], junk: Any) -> None:
    for name in model.model_fields:
        assert all(p.field.startswith(name) and p.fix for p in problems(model, {name: junk}))


def test_every_hot_field_says_what_it_is() -> None:
    fields = {f"{m.__name__}.{n}": f for m in USER_CONFIGS.values() for n, f in m.model_fields.items() if n != "policy"}
    assert [name for name, field in fields.items() if not field.description] == []


def test_a_refusal_does_not_name_the_union_variant() -> None:
    (line,) = refusal(AppArgs, {"engine": {"kind": "fake", "ttft_ms": -1}})
    assert line.startswith("engine.ttft_ms: -1 refused: ")


@pytest.mark.parametrize(
    ("spec", "field", "in_fix"),
    [
        (PolicySpec(name="nosuch"), "policy.name", "choose one of"),
        (PolicySpec(name="no.such:thing"), "policy.name", "cannot import"),
        (PolicySpec(name="fixed", params={"k": "x"}), "policy.params.k", "integer"),
        (PolicySpec(name="fixed", params={"nope": 1}), "policy.params.nope", "not permitted"),
    ],
)
def test_a_policy_that_cannot_be_built_is_refused_with_field_value_and_fix(
    spec: PolicySpec, field: str, in_fix: str
) -> None:
    (problem,) = of_policy(spec, k_max=5)
    assert problem.field == field
    assert in_fix in problem.fix


def test_a_good_policy_has_no_problems() -> None:
    assert of_policy(PolicySpec(name="fixed", params={"k": 2}), k_max=5) == []


def test_a_door_of_which_one_thing_is_said_keeps_the_rest_as_it_is() -> None:
    usual = IngressConfig().door
    said = IngressConfig.model_validate({"door": {"queue_limit": 64, "routing": {"tie_slack": 0.1}}}).door
    assert (said.queue_limit, said.seats_factor, said.routing.stale_after_s) == (64, 1.0, 1.0)
    assert (usual.seats_factor, usual.routing.stale_after_s) == (1.0, 1.0)


@pytest.mark.parametrize("file", ["spans-{host}.jsonl", "{}.jsonl", "{service", "{pid.x}.jsonl", "{pid[0]}"])
def test_a_spans_file_with_anything_else_to_fill_in_is_refused(file: str) -> None:
    (line,) = refusal(AppArgs, {"engine": {"kind": "fake"}, "tracing": {"file": file}})
    assert line.startswith("tracing.file: ")
    assert "only {service} and {pid}" in line
