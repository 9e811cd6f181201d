"""What a replica needs of an engine, and nothing more: an OpenAI application, a policy to set, figures to exchange."""

from __future__ import annotations

from typing import Any, Protocol

from starlette.types import ASGIApp

from deployments.settings import Engine, FakeEngine
from policies.exchange import LoadOutlook, ReplicaReport
from policies.registry import PolicySpec


class PolicyRefused(ValueError):
    """The engine kept its policy; the text says why."""


class EngineFailed(RuntimeError):
    """The engine cannot serve any more; the replica should be replaced."""


class Backend(Protocol):
    """One engine."""

    @property
    def app(self) -> ASGIApp:
        """OpenAI routes, /v1/models and /metrics, called in process. Valid once started."""
        ...

    async def start(self) -> None:
        """Ready to serve under `safe_policy`. Raises ValueError naming the setting that is wrong."""
        ...

    async def set_policy(self, spec: PolicySpec) -> dict[str, Any]:
        """The policy as the engine runs it from its next step on. Raises PolicyRefused: the old one goes on."""
        ...

    async def exchange(self, outlook: LoadOutlook | None) -> ReplicaReport:
        """Outlook in, counters and gauges out. Raises EngineFailed."""
        ...

    async def check_health(self) -> None:
        """Raises EngineFailed."""
        ...

    def held(self) -> int:
        """Requests the engine has not finished."""
        ...

    def kill(self) -> None:
        """Ends an engine that hangs, without asking it: whoever waits for it is told that it failed."""
        ...

    async def stop(self) -> None:
        """Frees what `start` took."""
        ...


def make(engine: Engine) -> Backend:
    """The backend `engine.kind` names. vLLM is imported only where it is served."""
    if isinstance(engine, FakeEngine):
        from deployments.fake_backend import FakeBackend  # noqa: PLC0415 - only what is served is imported

        return FakeBackend(engine)
    from deployments.vllm_backend import VllmBackend  # noqa: PLC0415 - the same

    return VllmBackend(engine)
