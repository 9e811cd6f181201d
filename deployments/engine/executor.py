"""An executor whose draft tokens ride on the step's own reply.

vLLM fetches draft tokens with a worker call of its own after every step. `AdaptiveWorker` attaches them to the step's
output instead and `AdaptiveScheduler` takes them off; the call is left with nothing to fetch.
"""

from __future__ import annotations

from vllm.config import VllmConfig
from vllm.v1.executor.multiproc_executor import MultiprocExecutor
from vllm.v1.outputs import DraftTokenIds

from deployments.engine.scheduler import AdaptiveScheduler


class AdaptiveExecutor(MultiprocExecutor):
    """`--distributed-executor-backend deployments.engine.executor.AdaptiveExecutor`. Needs `AdaptiveScheduler`."""

    def _init_executor(self) -> None:
        check_scheduler(self.vllm_config)
        super()._init_executor()

    def take_draft_token_ids(self) -> DraftTokenIds | None:
        return None


def check_scheduler(config: VllmConfig) -> None:
    """Raises ValueError where nobody would take the drafts off the reply."""
    chosen = config.scheduler_config.get_scheduler_cls()
    if not issubclass(chosen, AdaptiveScheduler):
        raise ValueError(  # noqa: TRY004 - a setting, not an argument
            f"distributed_executor_backend: AdaptiveExecutor needs scheduler_cls "
            f"'deployments.engine.scheduler.AdaptiveScheduler', not {chosen.__name__!r}"
        )
