"""Serve's power-of-two-choices router, except that with no replica left it says so instead of waiting for one."""

from __future__ import annotations

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import PendingRequest, ReplicaID, RunningReplica

from deployments.errors import NoReplicaError  # not defined here: Serve sends this module by value, which copies it


class PromptRouter(PowerOfTwoChoicesRequestRouter):
    """Prompt: where Serve's own router waits without limit for a replica, this one refuses at once."""

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
        super().update_replicas(replicas)
        self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        """Requests that were waiting for a slot on the last replica."""
        if self.curr_replicas:
            return
        for pending in self._pending_requests_to_fulfill:
            if not pending.future.done():
                pending.future.set_exception(NoReplicaError("the last replica is gone"))
