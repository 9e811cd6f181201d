"""docs/policies.md says what the code does: every parameter, and an example policy that runs."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic.fields import FieldInfo

from policies.api import PolicyContext
from policies.estimators import default_models
from policies.registry import CONTROLLERS
from tests.unit.policies.worlds import make_view, run_step

pytestmark = pytest.mark.unit

DOCS = Path(__file__).parents[3] / "docs" / "policies.md"


def params_of(name: str) -> dict[str, FieldInfo]:
    module, _, attribute = CONTROLLERS[name].partition(":")
    fields: dict[str, FieldInfo] = getattr(importlib.import_module(module), attribute).Params.model_fields
    return fields


def row(field: str, info: FieldInfo) -> str:
    """A parameter's line in the docs' tables."""
    bounds = [str(m).split("(")[0].lower() + " " + re.sub(r"\w+\(\w+=(.*)\)", r"\1", str(m)) for m in info.metadata]
    default = "required" if info.is_required() else f"`{info.get_default(call_default_factory=True)!r}`"
    return f"| `{field}` | {default} | {', '.join(bounds)} | {info.description or ''} |"


@pytest.mark.parametrize("name", sorted(CONTROLLERS))
def test_every_policy_has_its_section_and_every_parameter_its_line(name: str) -> None:
    text = DOCS.read_text()
    section = re.search(rf"^### `{name}`$(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"docs/policies.md has no section {name!r}"
    for field, info in params_of(name).items():
        assert row(field, info) in section[1]


def test_the_example_policy_runs_and_is_under_30_lines() -> None:
    example = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert example
    assert len(example[1].splitlines()) < 30
    names: dict[str, Any] = {}
    exec(compile(example[1], "docs/policies.md", "exec"), names)  # noqa: S102  # the example under test
    policy = names["Cautious"](names["CautiousParams"](), PolicyContext(8, default_models(8)))
    sure, unsure = np.full((2, 8), 0.95), np.full((2, 8), 0.1)
    assert run_step(policy, make_view(2), sure).k == 6
    assert run_step(policy, make_view(2), unsure).k == 1
    assert run_step(policy, make_view(20), sure).k == 0
