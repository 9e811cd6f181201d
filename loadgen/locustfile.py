"""`locust -f loadgen/locustfile.py --scenario NAME --host URL`: Locust's UI, CSV files and workers around an open loop.

One user a process walks the plan; Locust's own user counts and run time do not apply.
"""

from __future__ import annotations

from typing import Any

import gevent
from locust import LoadTestShape, User, events, task
from locust.argument_parser import LocustArgumentParser

from loadgen.progress import API_KEY
from loadgen.session import Session


@events.init_command_line_parser.add_listener
def _arguments(parser: LocustArgumentParser, **_: Any) -> None:
    parser.add_argument("--scenario", default="steady", help="a YAML file, or a shipped scenario's name")
    parser.add_argument("--out", default=".bench/loadgen", help="folder for results; a later test overwrites it")
    parser.add_argument("--rate", type=float, default=1.0, help="times the scenario's arrival rate")
    parser.add_argument("--seed", type=int, default=None, help="in place of the scenario's")
    parser.add_argument("--api-key", default="", is_secret=True, env_var=API_KEY, help="sent as a bearer token")


@events.init.add_listener
def _init(environment: Any, **_: Any) -> None:
    session = Session(environment)
    environment.loadgen = session
    for name in ("test_start", "test_stop", "report_to_master", "worker_report"):
        getattr(environment.events, name).add_listener(getattr(session, name))


class Plan(LoadTestShape):
    """One user a sending process, until every request is accounted for."""

    def tick(self) -> tuple[int, float] | None:
        environment: Any = None if self.runner is None else self.runner.environment
        if environment is None or environment.loadgen.over:
            return None
        processes = environment.loadgen.processes
        return processes, 10.0 * processes  # users a second: no process waits for another's


class Walker(User):
    """Walks its process's share of the plan once."""

    @task
    def walk(self) -> None:
        self.environment.loadgen.walk()
        while True:  # answers are still coming; Locust ends this greenlet when the test stops
            gevent.sleep(3600)
