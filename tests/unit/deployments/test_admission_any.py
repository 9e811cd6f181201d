"""Whatever the order of arrivals, ends, departures and reports, no seat is given twice and none is lost."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.errors import ApiError
from policies.fleet.ledger import Sent
from tests.unit.deployments.test_admission import Fixture, figures

SEATS = 2
STEPS = st.sampled_from(["tight", "default", "end", "leave", "report", "lose"])


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_no_seat_is_given_twice_and_none_is_lost(steps: list[str]) -> None:
    async def play() -> None:
        await Play().run(steps)

    asyncio.run(play())


class Play:
    """Two replicas of two seats, and everybody who came."""

    def __init__(self) -> None:
        self.f = Fixture([figures("a", seats=SEATS), figures("b", seats=SEATS)])
        self.tasks: list[asyncio.Task[Sent]] = []

    async def run(self, steps: list[str]) -> None:
        for step in steps:
            await getattr(self, step if hasattr(self, step) else "come")(step)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert all(len([s for s in self.running() if s.replica == name]) <= SEATS for name in "ab")
        while self.running() or any(not task.done() for task in self.tasks):
            await self.end("end")
            await asyncio.sleep(0)
            if not self.f.door._replicas:  # all lost and doubted: nobody else can be served
                break
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        assert sum(self.f.door.waiting().values()) == 0
        assert sum(self.f.door.running(of) for of in ("tight", "default")) == len(self.running())

    def running(self) -> list[Sent]:
        return [self.sent(task) for task in self.tasks if self.has_seat(task)]

    @staticmethod
    def has_seat(task: "asyncio.Task[Sent]") -> bool:
        return task.done() and not task.cancelled() and task.exception() is None

    @staticmethod
    def sent(task: "asyncio.Task[Sent]") -> Sent:
        return task.result()

    async def come(self, of: str) -> None:
        self.tasks.append(asyncio.create_task(self.f.enter(of)))

    async def end(self, _: Any) -> None:
        task = next((task for task in self.tasks if self.has_seat(task)), None)
        if task is not None:
            self.tasks.remove(task)
            self.f.door.leave(task.result())

    async def leave(self, _: Any) -> None:
        task = next((task for task in self.tasks if not task.done()), None)
        if task is not None:
            task.cancel()

    async def report(self, _: Any) -> None:
        now = [figures(n, seats=SEATS, batch=len([s for s in self.running() if s.replica == n])) for n in "ab"]
        self.f.door.told(now)

    async def lose(self, _: Any) -> None:
        task = next((task for task in self.tasks if self.has_seat(task)), None)
        if task is None:
            return
        gone = task.result().replica
        self.tasks = [task for task in self.tasks if not (self.has_seat(task) and task.result().replica == gone)]
        self.f.door._leave_out(gone)


def test_a_refusal_is_an_api_error() -> None:
    """What `Play` takes for refused is nothing else."""

    async def refused() -> BaseException | None:
        f = Fixture([])
        task = asyncio.create_task(f.enter())
        await asyncio.wait([task])
        return task.exception()

    assert isinstance(asyncio.run(refused()), ApiError)
