"""Names and import paths -> policies, with their parameters validated."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policies.api import Policy, PolicyContext
from policies.base import BasePolicy, FromCallable, Params
from policies.estimators import default_models
from policies.guard import valid_needs

CONTROLLERS = {
    "off": "policies.controllers.off:Off",
    "fixed": "policies.controllers.fixed:Fixed",
    "schedule": "policies.controllers.schedule:Schedule",
    "aimd": "policies.controllers.aimd:Aimd",
    "ema_tiers": "policies.controllers.ema_tiers:EmaTiers",
    "confidence": "policies.controllers.confidence:Confidence",
    "adaspec": "policies.controllers.adaspec:AdaSpec",
    "goodput": "policies.controllers.goodput:Goodput",
    "nightjar": "policies.controllers.nightjar:Nightjar",
    "budget": "policies.controllers.budget:Budget",
    "slo_custom": "policies.controllers.slo_custom:SloCustom",
    "specdec_pp": "policies.controllers.specdec_pp:SpecDecPP",
    "slo_goodput": "policies.controllers.slo_goodput:SloGoodput",
    "probed": "policies.wrappers:Probed",
    "steady": "policies.wrappers:Steady",
}
"""Imported on first use, so that one broken or heavy controller costs the others nothing."""


class PolicyError(ValueError):
    """A policy that cannot be built. The message names the field, the value and the fix."""


class PolicySpec(BaseModel):
    """A policy as a config file states it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="a shipped controller, or an import path 'module:attribute'")
    params: dict[str, Any] = Field(default_factory=dict)


def build(spec: PolicySpec, context: PolicyContext) -> Policy:
    """The policy `spec` names.

    Raises:
        PolicyError: unknown name, failing import or constructor, or parameters out of type or range.
    """
    found = _find(spec.name)
    if isinstance(found, type) and issubclass(found, BasePolicy):
        return _made(spec.name, found, _params(spec, found.Params), context)
    if isinstance(found, type) or not callable(found):
        raise PolicyError(f"policy.name: {spec.name!r} is neither a BasePolicy subclass nor a function")
    return FromCallable(found, _params(spec, Params), context)


def check(spec: PolicySpec, k_max: int) -> None:
    """Raises PolicyError where `build` would, before anything is touched."""
    build(spec, PolicyContext(k_max=k_max, models=default_models(k_max)))


def imports(spec: PolicySpec) -> bool:
    """Whether building it imports a module that is not ours: its own, or a policy's inside it."""
    names = [spec.name]
    inner: Any = spec.params
    while isinstance(inner, dict) and isinstance(inner := inner.get("policy"), dict):
        names.append(str(inner.get("name")))
        inner = inner.get("params")
    return any(":" in name for name in names)


def _find(name: str) -> type[BasePolicy[Any]] | Callable[..., Any]:
    path = CONTROLLERS.get(name, name)
    module, _, attribute = path.partition(":")
    if not attribute:
        choices = ", ".join(sorted(CONTROLLERS))
        raise PolicyError(f"policy.name: unknown policy {name!r}; choose one of {choices}, or give 'module:attribute'")
    try:
        found: type[BasePolicy[Any]] | Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise PolicyError(f"policy.name: cannot import {path!r}: {type(error).__name__}: {error}") from error
    return found


def _made(name: str, policy: type[BasePolicy[Any]], params: Params, context: PolicyContext) -> Policy:
    try:
        made = policy(params, context)
        valid_needs(made)
    except PolicyError:  # of a policy inside: it says what is wrong
        raise
    except Exception as error:  # the same of a user's constructor
        why = f"{type(error).__name__}: {error}"
        raise PolicyError(f"policy.name: {name!r} cannot be constructed: {why}") from error
    return made


def _params(spec: PolicySpec, model: type[Params]) -> Params:
    try:
        return model.model_validate(spec.params)
    except ValidationError as error:
        raise PolicyError(_explain(spec.name, error)) from error


def _explain(name: str, error: ValidationError) -> str:
    lines = []
    for e in error.errors(include_url=False):
        where = ".".join(map(str, e["loc"])) or "(all)"
        lines.append(f"policy.params.{where}: {e['input']!r} refused for {name!r}: {e['msg']}")
    return "; ".join(lines)
