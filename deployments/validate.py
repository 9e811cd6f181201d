"""Checks a config file before it is deployed: `python -m deployments.validate CONFIG`. Exit code 1 if it is refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ray.serve.schema import DeploymentSchema, ServeDeploySchema

from deployments import preflight
from deployments.access import keys
from deployments.config_file import joined, not_plain, read
from deployments.problems import Problem, of_draft, of_policy, of_validation, short
from deployments.profile import profile
from deployments.settings import USER_CONFIGS, AppArgs, IngressConfig, ReplicaConfig, Speculation, VllmEngine

IMPORT_PATH = "deployments.app:build"
MOST_K = 16  # what an engine whose own settings are refused might have had


class Application(BaseModel):
    """What our own checks read of an application before Serve's look at it, which take its shape for granted."""

    import_path: str
    args: dict[str, Any] = {}
    deployments: list[dict[str, Any]] = []


class File(BaseModel):
    """The same of the file."""

    applications: list[Application]


def checked(file: str, *, starting: bool = False) -> tuple[Any, list[Problem]]:
    """A config file's data, and everything wrong with it."""
    raw = read(Path(file))
    return raw, [raw] if isinstance(raw, Problem) else check(raw, starting=starting)


def check(raw: Any, *, starting: bool = False) -> list[Problem]:
    """Everything wrong with a parsed config file: Serve's part, ours, the policy and the models.

    `starting`: its engine is about to start, so the memory it needs must be free now.
    """
    if not isinstance(raw, Mapping):
        return [Problem(field="(all)", value=type(raw).__name__, fix="the file must hold a mapping")]
    odd = not_plain(raw)
    found = [odd] if odd else _of(File, raw, "") or _serves(raw)
    if found:
        return found
    ours = [(i, of) for i, of in enumerate(raw["applications"]) if of["import_path"] == IMPORT_PATH]
    return [problem for i, of in ours for problem in _application(of, f"applications.{i}", starting=starting)]


def main(argv: list[str]) -> int:
    """Prints what is wrong, one problem a line."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m deployments.validate CONFIG\n")
        return 2
    _, found = checked(argv[0])
    for problem in found:
        sys.stderr.write(f"{argv[0]}: {problem}\n")
    if not found:
        sys.stdout.write(f"{argv[0]}: valid\n")
    return 1 if found else 0


def _serves(raw: Mapping[str, Any]) -> list[Problem]:
    """Serve's part, from the deployments up: of what is wrong inside them, its schema of the file may name nothing."""
    found = list(_unknown(raw, ServeDeploySchema, ""))
    for i, application in enumerate(raw["applications"]):
        for j, deployment in enumerate(application.get("deployments", [])):
            found += _of(DeploymentSchema, deployment, f"applications.{i}.deployments.{j}")
    return found or _of(ServeDeploySchema, raw, "")


def _application(application: Mapping[str, Any], at: str, *, starting: bool) -> list[Problem]:
    given = application.get("args", {})
    found = _of(AppArgs, given, f"{at}.args")
    engine = None if found else AppArgs.model_validate(given).engine
    for i, deployment in enumerate(application.get("deployments", [])):
        found += _deployment(deployment, f"{at}.deployments.{i}", engine)
    if isinstance(engine, VllmEngine):
        found += preflight.problems(engine, f"{at}.args.engine", starting=starting)
        found += _profile(engine, f"{at}.args.engine.profile")
    if engine is not None:
        found += of_policy(engine.safe_policy, engine.k_max, f"{at}.args.engine.safe_policy")
    return found


def _deployment(deployment: Mapping[str, Any], at: str, engine: Speculation | None) -> list[Problem]:
    model = USER_CONFIGS.get(deployment["name"])
    if model is None:
        return [Problem(field=f"{at}.name", value=deployment["name"], fix=f"choose one of {', '.join(USER_CONFIGS)}")]
    at_config, given = f"{at}.user_config", deployment.get("user_config") or {}
    found = _of(model, given, at_config)
    if found:
        return found
    config = model.model_validate(given)
    if isinstance(config, ReplicaConfig):
        field, k_max = f"{at_config}.policy", MOST_K if engine is None else engine.k_max
        undrafted = of_draft(config.policy, engine.draft, field) if isinstance(engine, VllmEngine) else []
        return undrafted or of_policy(config.policy, k_max, field)
    return _ingress(config, at_config, engine) if isinstance(config, IngressConfig) else []


def _ingress(config: IngressConfig, at: str, engine: Speculation | None) -> list[Problem]:
    """Tokens that can be read here, and seats that are not all kept for one class or another."""
    allowed = keys(config.access, os.environ)
    found = [allowed.model_copy(update={"field": f"{at}.{allowed.field}"})] if isinstance(allowed, Problem) else []
    reserved = sum(of.reserved_slots for of in config.classes)
    if engine is not None and reserved >= engine.max_num_seqs:
        fix = (
            f"keep their sum below args.engine.max_num_seqs ({engine.max_num_seqs}), or the other classes have no seat"
        )
        found.append(Problem(field=f"{at}.classes.reserved_slots", value=reserved, fix=fix))
    return found


def _profile(engine: VllmEngine, at: str) -> list[Problem]:
    """A profile that is not whole. Whether it fits is for the replica to say: only it knows its machine."""
    if engine.profile is None:
        return []
    try:
        profile.read(Path(engine.profile))
    except profile.ProfileRefused as error:
        return [Problem(field=at, value=engine.profile, fix=str(error).removeprefix("args.engine.profile: "))]
    return []


def _of(model: type[BaseModel], given: Any, at: str) -> list[Problem]:
    try:
        model.model_validate(given)
    except ValidationError as error:
        return of_validation(error, at)
    except (TypeError, AttributeError) as error:  # Serve's validators, on a value of a type they do not expect
        return [Problem(field=at or "(all)", value=short(given), fix=f"a value in it has a wrong type: {error}")]
    return []


def _unknown(given: Any, model: type[BaseModel], at: str) -> Iterator[Problem]:
    """Keys Serve would ignore in silence, at any depth."""
    for key, value in given.items() if isinstance(given, Mapping) else ():
        field = model.model_fields.get(key)
        if field is None:
            fix = f"unknown key; known: {', '.join(sorted(model.model_fields))}"
            yield Problem(field=joined(at, key), value=short(value), fix=fix)
            continue
        for inner in _models(field.annotation):
            for where, of in _items(value, joined(at, key)):
                yield from _unknown(of, inner, where)


def _items(value: Any, at: str) -> list[tuple[str, Any]]:
    return [(joined(at, i), of) for i, of in enumerate(value)] if isinstance(value, list) else [(at, value)]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models a field may hold: alone, in a list, beside other types."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
