"""What the engine refuses at start, each with its reason. README has the table."""

from __future__ import annotations

from typing import Any

METHODS = ("draft_model", "eagle", "eagle3", "mtp")


def refusals(config: Any) -> list[str]:
    """Reasons why this vLLM configuration cannot run; empty where it can."""
    spec, parallel, scheduler = config.speculative_config, config.parallel_config, config.scheduler_config
    if spec is None:
        return ["speculative_config: missing; AdaptiveWorker needs a draft, e.g. {'method': 'draft_model', ...}"]
    checks = {
        f"speculative_config.method: {spec.method!r} has no draft loop of its own to stop early; use one of "
        f"{', '.join(METHODS)}": spec.method not in METHODS,
        "speculative_config.parallel_drafting: all tokens come from one pass, there is no K to choose": (
            spec.parallel_drafting
        ),
        "speculative_config.disable_padded_drafter_batch: only the padded batch reports what was verified": (
            spec.disable_padded_drafter_batch
        ),
        "speculative_config.use_heterogeneous_vocab: catching up the draft needs the target's own token ids": (
            spec.use_heterogeneous_vocab
        ),
        "speculative_config.use_local_argmax_reduction: the draft's confidence is not computed under it": (
            spec.use_local_argmax_reduction
        ),
        "speculative_config.num_speculative_tokens_per_batch_size: vLLM's schedule and a policy cannot both choose K; "
        "use the policy 'schedule'": spec.num_speculative_tokens_per_batch_size is not None,
        "tensor_parallel_size: more than 1 needs one decision broadcast to every rank": (
            parallel.tensor_parallel_size > 1
        ),
        "pipeline_parallel_size: the draft lives on the last stage only": parallel.pipeline_parallel_size > 1,
        "data_parallel_size: ranks that choose different K deadlock; run one replica each": (
            parallel.data_parallel_size > 1
        ),
        "decode_context_parallel_size, prefill_context_parallel_size: a cache slot then lives on one rank only": (
            max(parallel.decode_context_parallel_size, parallel.prefill_context_parallel_size) > 1
        ),
        "async_scheduling: drafts must be decided after the verify, set async_scheduling=False": (
            scheduler.async_scheduling
        ),
        "enable_lora: vLLM's draft models do not take adapters": config.lora_config is not None,
        "kv_transfer_config: transferred blocks carry no draft keys and values": config.kv_transfer_config is not None,
        "VLLM_USE_V2_MODEL_RUNNER: model runner V2 has no proposer to replace, set VLLM_USE_V2_MODEL_RUNNER=0": (
            config.use_v2_model_runner
        ),
    }
    found = [reason for reason, refused in checks.items() if refused]
    return found + _context(config)


def _context(config: Any) -> list[str]:
    target, draft = config.model_config.max_model_len, config.speculative_config.draft_model_config.max_model_len
    if draft >= target:
        return []
    return [f"max_model_len: {target}, but the draft's context is {draft}; serve with max_model_len={draft}"]


def require_supported(config: Any) -> None:
    """Raises ValueError listing every reason."""
    found = refusals(config)
    if found:
        raise ValueError("adaspec cannot run this configuration: " + "; ".join(found))
