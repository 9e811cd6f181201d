"""vLLM in the replica's process: AsyncLLM behind vLLM's own OpenAI application, its worker replaced by ours."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from starlette.types import ASGIApp
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.platforms import current_platform
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from deployments import vllm_errors
from deployments.backend import EngineFailed, PolicyRefused
from deployments.preflight import require_loadable
from deployments.profile.builtin import calibrate
from deployments.profile.identity import key_of
from deployments.profile.profile import Profile, ProfileRefused, load
from deployments.settings import VllmEngine
from policies.exchange import LoadOutlook, ReplicaReport
from policies.registry import PolicySpec

logger = logging.getLogger(__name__)

ENGINE = "deployments.engine"
ALIVE_EVERY_S = 0.5


class VllmBackend:
    """Implements deployments.backend.Backend. Without a draft it is stock vLLM and only the policy `off` exists."""

    def __init__(self, engine: VllmEngine) -> None:
        self.engine = engine
        self.app: ASGIApp
        self._llm: AsyncLLM
        self._processes: set[psutil.Process] = set()
        self._profile_refused = False

    async def start(self) -> None:
        """Loads the models; half a minute or more. Raises ValueError before that for what can be seen to be wrong."""
        require_loadable(self.engine)
        os.environ.update(environment(self.engine))  # inherited by the engine's processes
        args = arguments(self.engine)
        profile = self._profile()
        if profile is not None:
            args.additional_config["adaspec"]["cost"] = profile.coefficients.model_dump()
        before = set(_children())
        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs.from_cli_args(args))
        self._processes = set(_children()) - before
        tasks = await self._llm.get_supported_tasks()
        app = build_app(args, tasks, self._llm.model_config)
        vllm_errors.install(app)
        await init_app_state(self._llm, app.state, args, tasks)
        if self.engine.draft is not None and profile is None:
            shapes = await calibrate(self._llm, self._rpc, self.engine)
            logger.info("no profile: calibrated on %d shapes", shapes)
        self.app = app

    async def set_policy(self, spec: PolicySpec) -> dict[str, Any]:
        """Between two engine steps. Raises PolicyRefused, EngineFailed."""
        if self.engine.draft is None:
            if spec.name != "off":
                raise PolicyRefused(f"{spec.name!r} needs a draft model: set args.engine.draft")
            return {}
        answer = await self._rpc("set_policy", spec.name, dict(spec.params))
        if not answer["ok"]:
            raise PolicyRefused(answer["error"])
        return answer

    async def exchange(self, outlook: LoadOutlook | None) -> ReplicaReport:
        """Answered between two engine steps. Raises EngineFailed."""
        if self.engine.draft is None:
            await self._rpc("check_health")  # of the worker: one that is stopped does not answer
            return ReplicaReport(at_s=time.time(), policy="off")
        answer = await self._rpc("exchange", outlook and outlook.model_dump())
        if self._profile_refused:
            answer["fallbacks"]["profile_refused"] = 1
        return ReplicaReport.model_validate(answer)

    async def check_health(self) -> None:
        """Raises EngineFailed once vLLM has given its engine up."""
        try:
            await self._llm.check_health()
        except EngineDeadError as error:
            raise EngineFailed(str(error)) from error

    def held(self) -> int:
        return int(self._llm.output_processor.get_num_unfinished_requests())

    def kill(self) -> None:
        """Kills the engine's processes, stopped ones too; vLLM then tells everybody who waits."""
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    async def stop(self) -> None:
        """Ends the engine's processes, and what vLLM may have left of them."""
        self._llm.shutdown()
        self.kill()

    def _profile(self) -> Profile | None:
        """The configured profile if it was made for this engine; else one error, counted, and built-in calibration."""
        if self.engine.profile is None or self.engine.draft is None:
            return None
        try:
            return load(Path(self.engine.profile), key_of(self.engine))
        except ProfileRefused as error:
            logger.error("%s; until then the built-in calibration serves", error)  # noqa: TRY400 - the message is whole
            self._profile_refused = True
            return None

    async def _rpc(self, method: str, *args: Any) -> dict[str, Any]:
        """What the first worker answers; every worker takes the same decision.

        vLLM never tells who waits for an answer that the engine has died.
        """
        call = self._llm.collective_rpc(method, args=args)
        asked: asyncio.Future[list[dict[str, Any]]] = asyncio.ensure_future(call)
        try:
            while not asked.done():
                await asyncio.wait({asked}, timeout=ALIVE_EVERY_S)
                if not asked.done():
                    await self.check_health()
            return (await asked)[0]
        except EngineDeadError as error:
            raise EngineFailed(str(error)) from error
        finally:
            asked.cancel()


def arguments(engine: VllmEngine) -> Namespace:
    """VLLM's own arguments with ours on top.

    Raises:
        ValueError: `vllm_args` names an argument vLLM does not have, or one that belongs to another field.
    """
    args: Namespace = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    ours = engine_arguments(engine)
    for name in engine.vllm_args:
        if name not in vars(args):
            raise ValueError(f"args.engine.vllm_args.{name}: vLLM has no such argument; see `vllm serve --help=all`")
        if name in ours:
            raise ValueError(f"args.engine.vllm_args.{name}: set by this service; use the field of args.engine")
    for name, value in {**ours, **engine.vllm_args}.items():
        setattr(args, name, value)
    return args


def environment(engine: VllmEngine) -> dict[str, str]:
    """What the engine's processes need in their environment; `engine.env` has the last word."""
    env = {"VLLM_NO_USAGE_STATS": "1"}
    if engine.draft is not None:
        env["VLLM_USE_V2_MODEL_RUNNER"] = "0"  # model runner V2 has no proposer to replace
    openmp = Path(sys.prefix) / "lib" / "libiomp5.so"  # of intel-openmp, in the CPU lock; vLLM asks for it
    if openmp.exists():
        env["LD_PRELOAD"] = _preload(openmp, os.environ.get("LD_PRELOAD", ""))
    return env | engine.env


def _preload(openmp: Path, before: str) -> str:
    """`before` with `openmp` ahead of it and without GNU's, which vLLM refuses to start beside Intel's."""
    others = [library for library in before.replace(":", " ").split() if "libgomp" not in library]
    return ":".join(others if any(openmp.name in library for library in others) else [str(openmp), *others])


def _children() -> list[psutil.Process]:
    """Of this process, all generations."""
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    return found


def engine_arguments(engine: VllmEngine) -> dict[str, Any]:
    """What this service asks of vLLM, by argument name."""
    ours: dict[str, Any] = {
        "model": engine.model,
        "served_model_name": [engine.served_model_name or engine.model],
        "dtype": engine.dtype,
        "max_num_seqs": engine.max_num_seqs,
        "gpu_memory_utilization": engine.gpu_memory_utilization,
        "tensor_parallel_size": engine.tensor_parallel_size,
        "enforce_eager": engine.enforce_eager,
        "seed": engine.seed,
        "enable_log_requests": False,
        "scheduling_policy": "priority",  # of the SLO class; the door's queue comes before it
        "enable_per_request_metrics": True,  # a whole answer's TTFT and TPOT are the engine's to tell
    }
    optional = {
        "max_model_len": engine.max_model_len,
        "max_num_batched_tokens": engine.max_num_batched_tokens,
        "kv_cache_memory_bytes": None if engine.kv_cache_gib is None else int(engine.kv_cache_gib * 2**30),
        "chat_template": engine.chat_template,
    }
    ours |= {name: value for name, value in optional.items() if value is not None}
    if engine.draft is not None:
        return ours | _speculation(engine)
    return ours | ({"worker_cls": f"{ENGINE}.seeded.SeededWorker"} if current_platform.is_cpu() else {})


def _speculation(engine: VllmEngine) -> dict[str, Any]:
    return {
        "speculative_config": {
            "method": "draft_model",
            "model": engine.draft,
            "num_speculative_tokens": engine.k_max,
        },
        "worker_cls": f"{ENGINE}.worker.AdaptiveWorker",
        "scheduler_cls": f"{ENGINE}.scheduler.AdaptiveScheduler",
        "distributed_executor_backend": f"{ENGINE}.executor.AdaptiveExecutor",
        "additional_config": {"adaspec": {"policy": engine.safe_policy.model_dump(), "seed": engine.seed}},
        "async_scheduling": False,  # a draft is decided after its verify
        "per_request_spec_decode_metrics": "summary",
    }
