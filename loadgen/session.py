"""One test inside Locust: this process's share of the plan, its records, and where they go.

Locust decides when a test starts and stops, shows it, and moves records from workers to the master.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gevent

from loadgen import counters, results, scenario
from loadgen.client import Client, bearer, first_model, get
from loadgen.dispatch import Clock, Dispatcher
from loadgen.outcome import Outcome
from loadgen.progress import WRITE_EVERY_S, Progress, refuse
from loadgen.schedule import Schedule, build

LEAD_S, WORKERS_LEAD_S = 1.0, 4.0  # from Locust's start to the plan's zero: users are spawned, workers told
REPORTS_S = 7.0  # workers report every 3 s


class Session:
    """Bound to one Locust environment; each test replaces the one before."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._tasks: list[gevent.Greenlet] = []
        self._outbox: list[Outcome] = []
        self._outcomes: dict[int, Outcome] = {}
        self._samples: list[counters.Sample] = []
        self._schedule: Schedule
        self._clock: Clock
        self._dispatcher: Dispatcher | None = None
        self._progress: Progress
        self._running = self._refused = False

    # Locust's events

    def test_start(self, **_: Any) -> None:
        self._dispatcher, self._environment.process_exit_code, said = None, None, None
        try:
            self._begin()
            self._running = True
        except (OSError, ValueError) as error:
            said, self._environment.process_exit_code = str(error), 1
            raise
        finally:
            self._refused = not self._running  # Locust logs what a listener raises, and would wait for ever
            if not self._is_worker:
                refuse(self._out, said)

    def _begin(self) -> None:
        options = self._options
        self._schedule = build(scenario.asked(options.scenario, float(options.rate), _seed(options.seed)))
        self._outcomes, self._outbox, self._samples, self._tasks = {}, [], [], []
        if not self._is_worker:
            self._agree()
        self._clock = Clock(time.perf_counter() + options.loadgen_start_at - time.time())
        if not self._is_master:
            self._dispatcher = self._own_share()
            self._tasks.append(gevent.spawn(self._cut_off))
        if not self._is_worker:
            self._progress = Progress(self._schedule, self._out)
            self._tasks += [gevent.spawn(self._watch), gevent.spawn(self._read_counters)]
        gc.collect()
        gc.freeze()  # a collection over what will live to the end anyway would only delay sends

    def test_stop(self, **_: Any) -> None:
        self._refused = False
        if not self._running:
            return
        self._running = False
        gevent.killall(self._tasks)
        if self._dispatcher is not None:
            self._dispatcher.stop()
        gc.unfreeze()
        if not self._is_worker:
            self._read_counters_once()
            results.write(self._out, self._schedule, list(self._outcomes.values()), self._samples, self._command)

    def report_to_master(self, data: dict[str, Any], **_: Any) -> None:
        data["loadgen"] = [o.to_json() for o in self._outbox]
        self._outbox = []

    def worker_report(self, data: Mapping[str, Any], **_: Any) -> None:
        for row in data.get("loadgen", ()):
            self._add(Outcome.of_json(row))

    # what the user and the shape of locustfile.py ask

    def walk(self) -> None:
        """Sends this process's share."""
        if self._dispatcher is None:
            return
        clients, arrivals = self._schedule.clients, self._schedule.scenario.arrivals
        if clients is None:
            self._dispatcher.walk()
        elif isinstance(arrivals, scenario.Closed):
            index, of = self._share()
            self._dispatcher.loop(len(range(index, clients, of)), arrivals.think_s)

    @property
    def processes(self) -> int:
        """How many processes send."""
        return max(1, len(self._options.loadgen_workers)) if self._running else self._environment.runner.worker_count

    @property
    def over(self) -> bool:
        """Every request is accounted for, or will not be; or the test could not start."""
        if not self._running:
            return self._refused
        if len(self._outcomes) == len(self._schedule.requests):
            return True
        return self._schedule.clients is None and self._clock() > self._end_s + REPORTS_S

    # parts

    @property
    def _options(self) -> Any:
        return self._environment.parsed_options

    @property
    def _is_worker(self) -> bool:
        return type(self._environment.runner).__name__ == "WorkerRunner"

    @property
    def _is_master(self) -> bool:
        return type(self._environment.runner).__name__ == "MasterRunner"

    @property
    def _end_s(self) -> float:
        """When the time for stragglers has passed."""
        return self._schedule.scenario.duration_s + self._schedule.scenario.drain_s

    @property
    def _headers(self) -> dict[str, str]:
        return bearer(self._options.api_key)

    @property
    def _command(self) -> list[str]:
        """As it was given, but for the key: it goes into pages that are shown around."""
        key = self._options.api_key
        return [word.replace(key, "***") for word in sys.argv] if key else sys.argv

    @property
    def _out(self) -> Path:
        return Path(self._options.out)

    def _agree(self) -> None:
        """What Locust carries to its workers with the options: who sends which share, from when, to which model."""
        options = self._options
        options.loadgen_workers = (
            sorted(w.id for w in self._environment.runner.clients.ready) if self._is_master else []
        )
        host, model = self._environment.host, self._schedule.scenario.model
        options.loadgen_model = model or first_model(host, self._headers)
        options.loadgen_start_at = time.time() + (WORKERS_LEAD_S if self._is_master else LEAD_S)

    def _share(self) -> tuple[int, int]:
        workers = self._options.loadgen_workers
        return (workers.index(self._environment.runner.client_id), len(workers)) if workers else (0, 1)

    def _own_share(self) -> Dispatcher:
        index, of = self._share()
        model = self._options.loadgen_model
        client = Client(self._environment.host, self._schedule.scenario, model, self._headers)
        return Dispatcher(self._schedule.requests[index::of], client, self._clock, self._record)

    def _cut_off(self) -> None:
        """Each process ends what it has in flight: Locust writes the results before it stops its workers."""
        if self._schedule.clients is None and self._dispatcher is not None:
            self._clock.wait_until(self._end_s)
            self._dispatcher.stop()

    def _record(self, outcome: Outcome) -> None:
        if self._is_worker:
            self._outbox.append(outcome)
        else:
            self._add(outcome)
        end_s = self._clock() if outcome.end_s is None else outcome.end_s
        self._environment.events.request.fire(
            request_type="POST",
            name=f"{self._schedule.scenario.api} {outcome.slo_class}",
            response_time=1e3 * (end_s - outcome.at_s),
            response_length=outcome.output_tokens,
            exception=None if outcome.error is None else RuntimeError(outcome.error),
            context={},
        )

    def _add(self, outcome: Outcome) -> None:
        self._outcomes[outcome.id] = outcome
        self._progress.add(outcome)

    def _watch(self) -> None:
        while True:
            self._progress.write(self._clock())
            gevent.sleep(WRITE_EVERY_S)

    def _read_counters(self) -> None:
        every_s = self._schedule.scenario.metrics_every_s
        self._clock.wait_until(0.0)
        while every_s is not None:
            self._read_counters_once()
            gevent.sleep(every_s)

    def _read_counters_once(self) -> None:
        if self._schedule.scenario.metrics_every_s is None:
            return
        try:
            body = get(self._environment.host, "/metrics", headers=self._headers)
            self._samples.append(counters.sample(body, self._clock()))
        except OSError as error:
            self._progress.no_counters(str(error))


def _seed(given: int | str | None) -> int | None:
    """The web form sends an empty text."""
    return None if given in {None, ""} else int(given)
