"""What needs vLLM's classes but no engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployments.ingress import OPENAPI
from deployments.openapi import text
from deployments.settings import VllmEngine
from deployments.vllm_backend import arguments, environment


def engine(**given: object) -> VllmEngine:
    return VllmEngine.model_validate({"kind": "vllm", "model": "m"} | given)


def test_the_schema_file_is_current() -> None:
    assert OPENAPI.read_text() == text(), "run make openapi"


def test_with_a_draft_our_worker_and_scheduler_serve_under_the_safe_policy() -> None:
    args = arguments(engine(draft="d", k_max=4, kv_cache_gib=0.5))
    assert args.speculative_config == {"method": "draft_model", "model": "d", "num_speculative_tokens": 4}
    assert args.worker_cls == "deployments.engine.worker.AdaptiveWorker"
    assert args.additional_config["adaspec"]["policy"]["name"] == "off"
    assert args.async_scheduling is False
    assert args.kv_cache_memory_bytes == 2**29


def test_without_a_draft_vllm_is_stock() -> None:
    args = arguments(engine())
    assert args.worker_cls == "auto"
    assert args.speculative_config is None


@pytest.mark.parametrize(
    ("vllm_args", "message"),
    [({"no_such": 1}, "no_such: vLLM has no such"), ({"seed": 1}, "seed: set by this service")],
)
def test_arguments_vllm_lacks_or_we_set_are_refused_by_name(vllm_args: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=rf"args\.engine\.vllm_args\.{message}"):
        arguments(engine(vllm_args=vllm_args))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "{openmp}"),
        ("/other.so", "{openmp}:/other.so"),
        ("/torch/libgomp-1.so /other.so", "{openmp}:/other.so"),
        ("{openmp}:/other.so", "{openmp}:/other.so"),
        ("/torch/libgomp-1.so:{openmp}", "{openmp}"),
    ],
)
def test_intels_openmp_is_preloaded_once_and_gnus_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str, after: str
) -> None:
    (tmp_path / "lib").mkdir()
    openmp = tmp_path / "lib" / "libiomp5.so"
    openmp.touch()
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setenv("LD_PRELOAD", before.format(openmp=openmp))
    assert environment(engine())["LD_PRELOAD"] == after.format(openmp=openmp)
    assert environment(engine(env={"LD_PRELOAD": "mine"}))["LD_PRELOAD"] == "mine"
    assert os.environ["LD_PRELOAD"] == before.format(openmp=openmp)


def test_without_intels_openmp_the_preloads_are_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    assert "LD_PRELOAD" not in environment(engine())
