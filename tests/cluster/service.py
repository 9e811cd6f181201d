"""A running application under test, deployed from a config like a user's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
from prometheus_client.parser import text_string_to_metric_families
from ray import serve
from ray.serve.schema import ServeDeploySchema

WITHIN_S = 30


def eventually(what: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
    """The first true value of `what`, looked for every 20 ms."""
    deadline = time.monotonic() + within_s
    while not (value := what()):
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.02)
    return value


class Service:
    """The application under test, and what an operator can do to it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=30)
        self.config: dict[str, Any] = {}

    def deploy(self, config: dict[str, Any]) -> None:
        """What `serve deploy` does with the file."""
        self.config = config
        client = serve.context._get_global_client()
        client.deploy_apps(ServeDeploySchema.model_validate(config), _blocking=False)

    def reload(self, **user_config: Any) -> float:
        """The same file with another `user_config` for the replicas: when Serve had accepted it, wall clock."""
        application = self.config["applications"][0]
        replica = application["deployments"][-1] | {"user_config": user_config}
        deployments = [*application["deployments"][:-1], replica]
        self.deploy(self.config | {"applications": [application | {"deployments": deployments}]})
        return time.time()

    def ready(self, replicas: int = 1) -> None:
        """Serve has finished deploying, and every replica has reported."""
        eventually(lambda: serve.status().applications["adaspec"].status == "RUNNING", 600)
        eventually(lambda: self.answers(replicas), 240)

    def answers(self, replicas: int) -> bool:
        """So many replicas report, and /health says so."""
        try:
            return len(self.replicas()) == replicas and self.http.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    def replicas(self) -> list[dict[str, Any]]:
        """Reports of the replicas that are alive, as the load monitor has them."""
        answer = self.http.get("/v1/replicas")
        if answer.status_code != 200:
            return []
        return [seen["status"] for seen in answer.json()["replicas"] if not seen["stale"]]

    def pids(self) -> set[int]:
        return {status["pid"] for status in self.replicas()}

    def policies(self) -> list[dict[str, Any]]:
        """What /v1/policy says of each replica that is alive; none while the load monitor is silent."""
        found: list[dict[str, Any]] = self.http.get("/v1/policy").json().get("replicas", [])
        return [policy for policy in found if not policy["stale"]]

    def samples(self, name: str, **labels: str) -> dict[str, float]:
        """A metric by replica, summed over the labels that are not given."""
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(self.http.get("/metrics").text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    replica = sample.labels.get("replica", "")
                    sums[replica] = sums.get(replica, 0) + sample.value
        return sums

    def total(self, name: str, **labels: str) -> float:
        return sum(self.samples(name, **labels).values())


def config(
    *,
    replicas: int = 1,
    ongoing: int = 40,
    queued: int = 64,
    engine: dict[str, Any] | None = None,
    ingress: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """serve_config.yaml with a fake engine."""
    small = {"num_replicas": 1, "health_check_period_s": 1, "ray_actor_options": {"num_cpus": 0}}
    return {
        "applications": [
            {
                "name": "adaspec",
                "import_path": "deployments.app:build",
                "args": {"engine": {"kind": "fake", **(engine or {})}},
                "deployments": [
                    small | {"name": "Ingress", "max_ongoing_requests": 1000, "user_config": ingress or {}},
                    small | {"name": "LoadMonitor", "max_ongoing_requests": 1000},
                    {
                        "name": "Replica",
                        "num_replicas": replicas,
                        "max_ongoing_requests": ongoing,
                        "max_queued_requests": queued,
                        "backpressure_config": {"status_code": 429, "retry_after_s": 2},
                        "health_check_period_s": 1,
                        "graceful_shutdown_timeout_s": 10,
                        "graceful_shutdown_wait_loop_s": 0.1,
                        "rolling_update_percentage": 0.5,
                        "ray_actor_options": {"num_cpus": 0},
                        "user_config": {"policy": {"name": "fixed", "params": {"k": 2}}},
                    },
                ],
            }
        ]
    }
