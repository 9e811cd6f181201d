"""A stock vLLM worker whose drafter asks a policy: `--worker-cls deployments.engine.worker.AdaptiveWorker`."""

from __future__ import annotations

from typing import Any

from vllm.config import VllmConfig
from vllm.platforms import current_platform

from deployments.engine import cpu_fix
from deployments.engine.catch_up import CatchUp
from deployments.engine.draft_kv import DraftCache
from deployments.engine.executor import AdaptiveExecutor
from deployments.engine.host import PolicyHost
from deployments.engine.proposer import AdaptiveDraftModel, AdaptiveEagle
from deployments.engine.sampler import PlainWhenUndrafted, UndraftedMetadata
from deployments.engine.scheduler import RIDER
from deployments.engine.seeded import SeededWorker
from deployments.engine.settings import EngineSettings
from deployments.engine.step import StepBook
from deployments.engine.supported import require_supported
from policies.exchange import LoadOutlook


class AdaptiveWorker(SeededWorker):
    """Replaces the drafter before weights and caches exist, so that everything else is stock."""

    def init_device(self) -> None:
        require_supported(self.vllm_config)
        settings = EngineSettings.of(self.vllm_config.additional_config)
        super().init_device()
        if current_platform.is_cpu():
            cpu_fix.install()
        runner, spec = self.model_runner, self.vllm_config.speculative_config
        k_max = spec.num_speculative_tokens
        self._settings = settings
        self._host = PolicyHost(settings, k_max)
        self._book = StepBook(runner, self._host, k_max, runner.max_model_len)
        self._catch_up: CatchUp | None = None
        self._passed = 0  # steps in a row that the draft's cache does not know of yet
        drafter = AdaptiveDraftModel if spec.uses_draft_model() else AdaptiveEagle
        runner.drafter = drafter(self.vllm_config, runner.device, runner)
        runner.drafter.attach(self._book, None)
        runner.rejection_sampler = PlainWhenUndrafted(runner.rejection_sampler)
        runner._calc_spec_decode_metadata = UndraftedMetadata(runner)  # noqa: SLF001 - vLLM has no hook for it
        # vLLM stops drafting for the whole batch when one request nears the draft's limit; the book caps that request.
        runner.effective_drafter_max_model_len = runner.max_model_len + k_max + 1
        self._rides = rides(self.vllm_config)

    def initialize_from_config(self, kv_cache_config: Any) -> None:
        super().initialize_from_config(kv_cache_config)
        drafter = self.model_runner.drafter
        if drafter.pass_hidden_states_to_model:
            return
        cache = DraftCache(kv_cache_config.num_blocks, drafter.block_size)
        self._catch_up = CatchUp(self.model_runner, cache, drafter.kv_cache_gid, enabled=self._settings.catch_up)
        drafter.attach(self._book, self._catch_up)

    def execute_model(self, scheduler_output: Any) -> Any:
        self._book.begin(scheduler_output, getattr(scheduler_output, RIDER, None))
        if self._catch_up is not None:
            self._catch_up.forget(scheduler_output.finished_req_ids)
            self._catch_up.forget(scheduler_output.scheduled_cached_reqs.resumed_req_ids)
            if self._book.passes():
                return self._pass(scheduler_output)
            self._catch_up.passed(self._passed)
            self._passed = 0
        output = super().execute_model(scheduler_output)
        if output is None and not scheduler_output.has_structured_output_requests:
            return self.sample_tokens(None)  # one call a step instead of two: no bitmask to wait for
        return output

    def _pass(self, scheduler_output: Any) -> Any:
        """One step as stock vLLM without a draft takes it; what it leaves out in the draft's cache is noted later."""
        runner, config = self.model_runner, self.model_runner.speculative_config
        runner.speculative_config = None
        try:
            super().execute_model(scheduler_output)
            output = super().sample_tokens(None)
        finally:
            runner.speculative_config = config
        self._book.passed()
        self._passed += 1
        return output

    def sample_tokens(self, grammar_output: Any) -> Any:
        output = super().sample_tokens(grammar_output)
        if self._rides and output is not None:
            drafts = self.take_draft_token_ids()
            if drafts is not None and any(drafts.draft_token_ids):
                setattr(output, RIDER, drafts)
        return output

    # Called through collective_rpc, between steps.

    def set_policy(self, name: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """{"ok", "error", "policy"}: a policy that cannot be built leaves the old one serving."""
        return self._host.set_policy(name, params or {})

    def exchange(self, outlook: dict[str, Any] | None = None) -> dict[str, Any]:
        """The monitor's outlook in, this engine's `ReplicaReport` out."""
        return self._host.exchange(None if outlook is None else LoadOutlook.model_validate(outlook))

    def policy_snapshot(self) -> dict[str, Any]:
        """What this engine has learned, for a sibling's `policy_restore`."""
        return self._host.snapshot()

    def policy_restore(self, state: dict[str, Any]) -> None:
        self._host.restore(state)


def rides(config: VllmConfig) -> bool:
    """Whether the executor takes drafts off the step's reply."""
    executor = config.parallel_config.distributed_executor_backend
    name = executor if isinstance(executor, str) else getattr(executor, "__qualname__", "")
    return bool(str(name).rsplit(".", 1)[-1] == AdaptiveExecutor.__name__)
