import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter

from deployments import router as module
from deployments.errors import NoReplicaError
from deployments.router import PromptRouter

REPLICA: Any = "a replica"


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> PromptRouter:
    """One that has a replica and a request waiting for a slot, over a base that only keeps the set."""

    def keep(self: Any, replicas: list[Any]) -> None:
        self._replicas = {replica: replica for replica in replicas}

    def drop(self: Any, replica: Any) -> None:
        self._replicas.pop(replica, None)

    monkeypatch.setattr(PowerOfTwoChoicesRequestRouter, "update_replicas", keep)
    monkeypatch.setattr(PowerOfTwoChoicesRequestRouter, "on_replica_actor_died", drop)
    made = PromptRouter.__new__(PromptRouter)
    made._replicas = {}
    made._pending_requests_to_fulfill = deque()
    made.update_replicas([REPLICA])
    return made


def waiting(router: PromptRouter) -> asyncio.Future[Any]:
    pending: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    router._pending_requests_to_fulfill.append(SimpleNamespace(future=pending))
    return pending


async def test_a_replica_that_is_away_for_a_reload_goes_on_serving(router: PromptRouter) -> None:
    pending = waiting(router)
    router.update_replicas([])
    assert list(router.curr_replicas) == [REPLICA]
    router.update_replicas([REPLICA])
    assert router._emptying is None
    assert not pending.done()


async def test_a_replica_that_stays_away_is_gone_and_who_waits_is_told(
    router: PromptRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RELOAD_S", 0)
    pending = waiting(router)
    router.update_replicas([])
    with pytest.raises(NoReplicaError):
        await asyncio.wait_for(pending, 1)
    assert not router.curr_replicas


async def test_a_replica_that_died_is_gone_at_once(router: PromptRouter) -> None:
    pending = waiting(router)
    router.update_replicas([])
    router.on_replica_actor_died(REPLICA)
    with pytest.raises(NoReplicaError):
        pending.result()
