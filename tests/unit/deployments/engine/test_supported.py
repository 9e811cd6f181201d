from types import SimpleNamespace
from typing import Any

import pytest

from deployments.engine.supported import METHODS, refusals, require_supported


def config(**changes: Any) -> Any:
    """A configuration that runs, with `section__field` changed."""
    sections: dict[str, dict[str, Any]] = {
        "speculative_config": {
            "method": "draft_model",
            "parallel_drafting": False,
            "disable_padded_drafter_batch": False,
            "use_heterogeneous_vocab": False,
            "use_local_argmax_reduction": False,
            "num_speculative_tokens_per_batch_size": None,
            "draft_model_config": SimpleNamespace(max_model_len=2048),
        },
        "parallel_config": {
            "tensor_parallel_size": 1,
            "pipeline_parallel_size": 1,
            "data_parallel_size": 1,
            "decode_context_parallel_size": 1,
            "prefill_context_parallel_size": 1,
        },
        "scheduler_config": {"async_scheduling": False},
        "model_config": {"max_model_len": 2048},
    }
    plain: dict[str, Any] = {"lora_config": None, "kv_transfer_config": None, "use_v2_model_runner": False}
    for name, value in changes.items():
        section, _, field = name.partition("__")
        if field:
            sections[section][field] = value
        else:
            plain[name] = value
    return SimpleNamespace(**{name: SimpleNamespace(**fields) for name, fields in sections.items()} | plain)


@pytest.mark.parametrize("method", METHODS)
def test_every_draft_with_a_loop_runs(method: str) -> None:
    require_supported(config(speculative_config__method=method))


@pytest.mark.parametrize(
    ("change", "value", "field", "reason"),
    [
        ("speculative_config__method", "ngram", "speculative_config.method: 'ngram'", "no draft loop"),
        ("speculative_config__parallel_drafting", True, "parallel_drafting", "no K to choose"),
        ("speculative_config__disable_padded_drafter_batch", True, "disable_padded_drafter_batch", "padded batch"),
        ("speculative_config__use_heterogeneous_vocab", True, "use_heterogeneous_vocab", "token ids"),
        ("speculative_config__use_local_argmax_reduction", True, "use_local_argmax_reduction", "confidence"),
        (
            "speculative_config__num_speculative_tokens_per_batch_size",
            [(1, 8, 3)],
            "num_speculative_tokens_per_batch_size",
            "'schedule'",
        ),
        ("parallel_config__tensor_parallel_size", 2, "tensor_parallel_size", "every rank"),
        ("parallel_config__pipeline_parallel_size", 2, "pipeline_parallel_size", "last stage"),
        ("parallel_config__data_parallel_size", 2, "data_parallel_size", "one replica each"),
        ("parallel_config__prefill_context_parallel_size", 2, "prefill_context_parallel_size", "one rank"),
        ("parallel_config__decode_context_parallel_size", 2, "decode_context_parallel_size", "one rank"),
        ("scheduler_config__async_scheduling", True, "async_scheduling", "async_scheduling=False"),
        ("lora_config", object(), "enable_lora", "adapters"),
        ("kv_transfer_config", object(), "kv_transfer_config", "no draft keys"),
        ("model_config__max_model_len", 4096, "max_model_len: 4096", "max_model_len=2048"),
    ],
)
def test_what_cannot_run_is_refused_with_its_reason(change: str, value: object, field: str, reason: str) -> None:
    (refusal,) = refusals(config(**{change: value}))
    assert field in refusal
    assert reason in refusal


def test_the_second_model_runner_is_refused_whether_asked_for_or_vllms_own_choice() -> None:
    (refusal,) = refusals(config(use_v2_model_runner=True))
    assert "VLLM_USE_V2_MODEL_RUNNER=0" in refusal


def test_without_a_draft_there_is_nothing_to_adapt() -> None:
    (refusal,) = refusals(config(speculative_config=None))
    assert "speculative_config: missing" in refusal


def test_all_reasons_come_in_one_error() -> None:
    with pytest.raises(ValueError, match="adaspec cannot run") as error:
        require_supported(config(lora_config=object(), parallel_config__tensor_parallel_size=2))
    assert "enable_lora" in str(error.value)
    assert "tensor_parallel_size" in str(error.value)
