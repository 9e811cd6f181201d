"""The graph in one process: Serve's local testing mode, and handles of what an ingress calls."""

from __future__ import annotations

import os
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.load_monitor import LoadMonitor
from deployments.replica import Replica
from deployments.settings import AppArgs


class Holder:
    """Takes the ingress's place in the graph, to hand out what the ingress is given."""

    def __init__(self, replicas: DeploymentHandle, monitor: DeploymentHandle) -> None:
        self._handles = replicas, monitor

    def handles(self) -> tuple[DeploymentHandle, DeploymentHandle]:
        return self._handles


def started(args: AppArgs) -> tuple[Any, Any]:
    """Handles of one replica and of the monitor. The replica reports until it is `ended`."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    monitor = serve.deployment(LoadMonitor).bind()
    replica = serve.deployment(Replica).bind(args, monitor, "local")
    run = serve.run(serve.deployment(Holder).bind(replica, monitor), _local_testing_mode=True)
    found: tuple[Any, Any] = run.handles.remote().result()
    return found


def ended(replica: Any) -> None:
    """What Serve does with a replica it takes out; local testing mode does not, and many slow each other down."""
    replica.options(method_name="__del__").remote().result()
