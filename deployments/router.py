"""Where the door decided, else by power of two choices; with no replica left it says so instead of waiting for one."""

from __future__ import annotations

import asyncio

from ray.serve._private.common import RequestMetadata
from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve._private.request_router.request_router import FIFOMixin
from ray.serve.request_router import PendingRequest, ReplicaID, RunningReplica

from deployments.errors import NoReplicaError  # not defined here: Serve sends this module by value, which copies it

RELOAD_S = 5.0
"""For as long a set of replicas turned empty is not believed. Serve takes a replica out of the set while it
reconfigures; with one replica, every reload would refuse requests that this replica is ready to serve."""


class PromptRouter(PowerOfTwoChoicesRequestRouter):
    """Prompt: where Serve's own router waits without limit for a replica, this one refuses at once."""

    _emptying: asyncio.TimerHandle | None = None

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The replica the door chose, if Serve runs it and it has room; then the usual two."""
        ranked: list[list[RunningReplica]] = await super().choose_replicas(candidate_replicas, pending_request)
        wanted = getattr(pending_request.args[0], "replica", "") if pending_request and pending_request.args else ""
        first = [r for r in candidate_replicas if r.replica_id.unique_id == wanted]
        return [first, *ranked] if first else ranked

    def _fulfill_next_pending_request(
        self, replica: RunningReplica, request_metadata: RequestMetadata | None = None
    ) -> None:
        """To the request it was chosen for. In order of arrival, as FIFOMixin has it, it would be another's."""
        super(FIFOMixin, self)._fulfill_next_pending_request(replica, request_metadata)

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
