"""Serve's power-of-two-choices router, except that with no replica left it says so instead of waiting for one."""

from __future__ import annotations

import asyncio

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import PendingRequest, ReplicaID, RunningReplica

from deployments.errors import NoReplicaError  # not defined here: Serve sends this module by value, which copies it

RELOAD_S = 5.0
"""For as long a set of replicas turned empty is not believed. Serve takes a replica out of the set while it
reconfigures; with one replica, every reload would refuse requests that this replica is ready to serve."""


class PromptRouter(PowerOfTwoChoicesRequestRouter):
    """Prompt: where Serve's own router waits without limit for a replica, this one refuses at once."""

    _emptying: asyncio.TimerHandle | None = None

    async def _choose_replica_for_request(
        self, pending_request: PendingRequest, *, is_retry: bool = False
    ) -> RunningReplica:
        if not self.curr_replicas:
            raise NoReplicaError("no replica is running")
        return await super()._choose_replica_for_request(pending_request, is_retry=is_retry)

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        super().on_replica_actor_died(replica_id)
        self._refuse_waiting()

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """A replica that died is gone at once all the same: the first call to it says so."""
        if self._emptying is not None:
            self._emptying.cancel()
            self._emptying = None
        if replicas or not self.curr_replicas:
            self._take(replicas)
        else:
            self._emptying = asyncio.get_running_loop().call_later(RELOAD_S, self._take, [])

    def _take(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        """Requests that were waiting for a slot on the last replica."""
        if self.curr_replicas:
            return
        for pending in self._pending_requests_to_fulfill:
            if not pending.future.done():
                pending.future.set_exception(NoReplicaError("the last replica is gone"))
