"""Checks a config file before it is deployed: `python -m deployments.validate CONFIG`. Exit code 1 if it is refused."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from ray.serve.schema import DeploymentSchema, HTTPOptionsSchema, ServeApplicationSchema, ServeDeploySchema

from deployments import preflight
from deployments.problems import Problem, of_policy, of_validation
from deployments.settings import USER_CONFIGS, AppArgs, IngressConfig, ReplicaConfig, VllmEngine

IMPORT_PATH = "deployments.app:build"


def check(raw: Any, *, starting: bool = False) -> list[Problem]:
    """Everything wrong with a parsed config file: Serve's part, ours, the policy and the models.

    `starting`: its engine is about to start, so the memory it needs must be free now.
    """
    if not isinstance(raw, Mapping):
        return [Problem(field="(all)", value=type(raw).__name__, fix="the file must hold a mapping")]
    found = _unknown(raw, ServeDeploySchema, "") + _unknown(raw.get("http_options"), HTTPOptionsSchema, "http_options")
    found += _of(ServeDeploySchema, raw, "")
    if found:
        return found
    for i, application in enumerate(raw["applications"]):
        at = f"applications.{i}"
        found += _unknown(application, ServeApplicationSchema, at)
        if application["import_path"] == IMPORT_PATH:
            found += _application(application, at, starting=starting)
    return found


def main(argv: list[str]) -> int:
    """Prints what is wrong, one problem a line."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m deployments.validate CONFIG\n")
        return 2
    try:
        raw = yaml.safe_load(Path(argv[0]).read_text())
    except (OSError, yaml.YAMLError) as error:
        sys.stderr.write(f"{argv[0]}: {error}\n")
        return 1
    found = check(raw)
    for problem in found:
        sys.stderr.write(f"{argv[0]}: {problem}\n")
    if not found:
        sys.stdout.write(f"{argv[0]}: valid\n")
    return 1 if found else 0


def _application(application: Mapping[str, Any], at: str, *, starting: bool) -> list[Problem]:
    found = _of(AppArgs, application.get("args") or {}, f"{at}.args")
    engine = None if found else AppArgs.model_validate(application["args"]).engine
    for i, deployment in enumerate(application.get("deployments") or []):
        found += _deployment(deployment, f"{at}.deployments.{i}", 16 if engine is None else engine.k_max)
        if engine is not None and deployment["name"] == "Ingress" and not found:
            found += _reservations(deployment, f"{at}.deployments.{i}", engine.max_num_seqs)
    if isinstance(engine, VllmEngine):
        found += preflight.problems(engine, f"{at}.args.engine", starting=starting)
    if engine is not None:
        found += of_policy(engine.safe_policy, engine.k_max, f"{at}.args.engine.safe_policy")
    return found


def _deployment(deployment: Mapping[str, Any], at: str, k_max: int) -> list[Problem]:
    model = USER_CONFIGS.get(deployment["name"])
    if model is None:
        return [Problem(field=f"{at}.name", value=deployment["name"], fix=f"choose one of {', '.join(USER_CONFIGS)}")]
    at_config, given = f"{at}.user_config", deployment.get("user_config") or {}
    refused = _of(model, given, at_config)
    if model is ReplicaConfig and not refused:
        refused = of_policy(ReplicaConfig.model_validate(given).policy, k_max, f"{at_config}.policy")
    return _unknown(deployment, DeploymentSchema, at) + refused


def _reservations(ingress: Mapping[str, Any], at: str, seats: int) -> list[Problem]:
    """A replica's seats must not all be kept for one class or another."""
    classes = IngressConfig.model_validate(ingress.get("user_config") or {}).classes
    reserved = sum(of.reserved_slots for of in classes)
    if reserved < seats:
        return []
    fix = f"keep their sum below args.engine.max_num_seqs ({seats}), or the other classes have no seat"
    return [Problem(field=f"{at}.user_config.classes.reserved_slots", value=reserved, fix=fix)]


def _of(model: type[BaseModel], given: Any, at: str) -> list[Problem]:
    try:
        model.model_validate(given)
    except ValidationError as error:
        return of_validation(error, at)
    return []


def _unknown(given: Any, model: type[BaseModel], at: str) -> list[Problem]:
    """Keys Serve would ignore in silence."""
    if not isinstance(given, Mapping):
        return []
    known = sorted(model.model_fields)
    return [
        Problem(field=f"{at}.{key}".lstrip("."), value=given[key], fix=f"unknown key; known: {', '.join(known)}")
        for key in given
        if key not in known
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
