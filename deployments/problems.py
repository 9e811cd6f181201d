"""What is wrong with a config, said so that it can be mended: field, value, fix."""

from __future__ import annotations

import re
import reprlib
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from policies.registry import PolicyError, PolicySpec, check

UNION_TAG = re.compile(r"\b(engine)\.(?:vllm|fake)\b")  # pydantic names the variant; the file has no such key


class Problem(BaseModel):
    """One field with a value it cannot have."""

    model_config = ConfigDict(frozen=True)

    field: str
    value: Any
    fix: str

    def __str__(self) -> str:
        return f"{self.field}: {self.value!r} refused: {self.fix}"


def of_validation(error: ValidationError, prefix: str = "") -> list[Problem]:
    """One problem for each error pydantic found."""
    found = []
    for e in error.errors(include_url=False):
        path = ".".join(str(part) for part in (prefix, *e["loc"]) if part != "")
        path = UNION_TAG.sub(r"\1", path)
        found.append(Problem(field=path or "(all)", value=short(e["input"]), fix=e["msg"]))
    return found


def of_policy(spec: PolicySpec, k_max: int, prefix: str = "policy") -> list[Problem]:
    """Why `spec` cannot be built in this process; empty if it can."""
    try:
        check(spec, k_max)
    except PolicyError as error:
        if isinstance(error.__cause__, ValidationError):
            return of_validation(error.__cause__, f"{prefix}.params")
        fix = str(error).removeprefix("policy.name: ")
        return [Problem(field=f"{prefix}.name", value=spec.name, fix=fix)]
    except SystemExit as error:  # of the policy's module or constructor
        return [Problem(field=f"{prefix}.name", value=spec.name, fix=f"it exits ({error}) instead of being a policy")]
    return []


def of_draft(spec: PolicySpec, draft: str | None, field: str) -> list[Problem]:
    """Without a draft there is only the policy `off`."""
    if draft is not None or spec.name == "off":
        return []
    fix = "needs a draft model: set args.engine.draft, or use off"
    return [Problem(field=f"{field}.name", value=spec.name, fix=fix)]


def of_refusal(spec: PolicySpec, said: str) -> Problem:
    """What an engine said of a policy; like `PolicyError` it begins with the field, if it knows one."""
    field, _, fix = said.partition(": ")
    known = field.startswith("policy.")
    return Problem(field=field if known else "policy", value=spec.name, fix=fix if known else said)


def short(value: Any) -> Any:
    """The value as given if it is small and JSON-able, its text otherwise: a value may be large, or hold itself."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else reprlib.repr(value)
    return text if len(text) <= 200 else text[:197] + "..."
