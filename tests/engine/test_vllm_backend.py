"""What needs vLLM's classes but no engine."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from vllm.exceptions import GenerationError
from vllm.v1.engine.exceptions import EngineDeadError

from deployments.backend import EngineFailed
from deployments.ingress import OPENAPI
from deployments.openapi import text
from deployments.profile.identity import key_of
from deployments.profile.profile import Profile
from deployments.settings import VllmEngine
from deployments.vllm_backend import VllmBackend, arguments, environment
from deployments.vllm_errors import install
from policies.estimators.cost import LinearCoefficients
from policies.registry import PolicySpec
from tests.engine.engines import DRAFT, TARGET


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


def test_without_a_draft_vllm_is_stock_but_for_a_cpus_seeds() -> None:
    args = arguments(engine())
    assert args.worker_cls == "deployments.engine.seeded.SeededWorker"
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


@pytest.mark.parametrize("device", [None, "another CPU, 64 cores"])
def test_a_profile_of_another_machine_is_refused_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, device: str | None
) -> None:
    file = tmp_path / "profile.json"
    here = engine(model=str(TARGET), draft=str(DRAFT), profile=str(file))
    key = key_of(here)
    key = key if device is None else key.model_copy(update={"device": device})
    made = {"made_at": "2026-01-01T00:00:00+00:00", "acceptance": (0.7,), "held_out": {}}
    Profile(key=key, coefficients=LinearCoefficients(target_gamma_s=1e-4), **made).save(file)
    backend = VllmBackend(here)
    assert (backend._profile() is None, backend._profile_refused) == (device is not None, device is not None)
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == (device is not None)
    assert all(f"{file}: made for something else: device was {device!r} and is " in line for line in said)


@pytest.mark.parametrize(("body", "status"), [({"structured_outputs": {"grammar": "root ::= root"}}, 400), ({}, 500)])
async def test_a_request_that_vllm_ends_is_refused_only_where_it_has_a_grammar(body: Any, status: int) -> None:
    app = FastAPI()
    install(app)

    @app.post("/")
    async def fails(given: dict[str, Any]) -> None:
        raise GenerationError("Internal server error")

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://local") as http:
        answer = await http.post("/", json=body)
    assert answer.status_code == answer.json()["error"]["code"] == status


class Dying:
    """As AsyncLLM is when its engine dies: who waits for an answer waits for ever, who asks for its health is told."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def collective_rpc(self, method: str, args: tuple[Any, ...]) -> list[dict[str, Any]]:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError(f"{method}{args} was answered")

    async def check_health(self) -> None:
        if self.asked.is_set():
            raise EngineDeadError


async def test_a_reload_that_an_engine_dies_over_fails() -> None:
    backend = VllmBackend(engine(draft="d"))
    backend._llm = Dying()  # a double of the two methods that are called
    with pytest.raises(EngineFailed):
        await asyncio.wait_for(backend.set_policy(PolicySpec(name="off")), timeout=30)
