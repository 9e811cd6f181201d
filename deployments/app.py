"""Composes the application: ingress -> router -> replicas, and the load monitor beside them."""

from __future__ import annotations

import logging
import os
from typing import Any

from pydantic import ValidationError
from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig

from deployments.environment import missing
from deployments.ingress import Ingress
from deployments.load_monitor import LoadMonitor
from deployments.problems import of_validation
from deployments.replica import Replica
from deployments.router import PromptRouter
from deployments.settings import AppArgs

logger = logging.getLogger(__name__)


def build(args: dict[str, Any]) -> Application:
    """`import_path` of serve_config.yaml. Numbers of replicas, CPU shares and user_config come from the file.

    Raises:
        ValueError: `args` are not an AppArgs; the message names each field, its value and the fix.
    """
    try:
        parsed = AppArgs.model_validate(args)
    except ValidationError as error:
        raise ValueError("; ".join(map(str, of_validation(error, "args")))) from error
    if unset := missing(os.environ):
        # Ray sets some in its workers itself, so the shell knows better than this process what to export.
        say = 'eval "$(python -m deployments.environment)"'
        logger.warning("Ray was started without %s; before `serve run`, say: %s", ", ".join(unset), say)
    router = RequestRouterConfig(request_router_class=PromptRouter)
    monitor = serve.deployment(LoadMonitor, name="LoadMonitor").bind()
    replica = serve.deployment(Replica, name="Replica", request_router_config=router).bind(parsed, monitor)
    return serve.deployment(serve.ingress()(Ingress), name="Ingress").bind(replica, monitor, parsed.tracing)
