"""Everything a config file may say about the service. Frozen, bounded, and a misspelt key is an error.

What restarts replicas (`args`) is apart from what changes live (`user_config`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from policies.fleet.admit import AdmitSettings
from policies.fleet.outlook import OutlookSettings
from policies.fleet.route import RouteSettings
from policies.fleet.scale import ScaleSettings
from policies.registry import PolicySpec


class Settings(BaseModel):
    """Base of all settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Speculation(Settings):
    """What every engine needs to know about speculation; fixed for a replica's life."""

    k_max: int = Field(default=5, ge=1, le=16, description="most draft tokens per request and step, tokens")
    max_num_seqs: int = Field(default=32, ge=1, le=4096, description="requests decoded together")
    safe_policy: PolicySpec = Field(
        default=PolicySpec(name="off"), description="what a replica serves with until a valid policy arrives"
    )


class VllmEngine(Speculation):
    """One vLLM engine per replica."""

    kind: Literal["vllm"]
    model: str = Field(min_length=1, description="target: a directory or a hub id")
    draft: str | None = Field(default=None, description="draft: the same; null serves without speculation")
    served_model_name: str | None = Field(default=None, description="name clients send; null: `model` as written")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_model_len: int | None = Field(default=None, ge=16, description="tokens; null: what the model was trained for")
    max_num_batched_tokens: int | None = Field(default=None, ge=16, description="tokens a step may schedule")
    kv_cache_gib: float | None = Field(default=None, gt=0, description="GiB of KV cache; null: vLLM decides")
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1, description="share of GPU memory; unused on a CPU")
    tensor_parallel_size: int = Field(default=1, ge=1, le=64)
    enforce_eager: bool = Field(default=True, description="false compiles: more start-up time, less per step")
    chat_template: str | None = Field(default=None, description="path, or null for the tokenizer's own")
    seed: int = Field(default=0, ge=0)
    profile: str | None = Field(default=None, description="file of `make profile`; null: learned from calibrate_s on")
    calibrate_s: float = Field(default=3, ge=0, le=60, description="seconds of trial steps at start without a profile")
    env: dict[str, str] = Field(default_factory=dict, description="environment of the engine's processes")
    vllm_args: dict[str, Any] = Field(default_factory=dict, description="any further vLLM engine argument")


class FakeEngine(Speculation):
    """A test double with a stated contract (see fake_backend.py): no model, no vLLM."""

    kind: Literal["fake"]
    served_model_name: str = "fake"
    ttft_ms: float = Field(default=0.0, ge=0, description="to the first token, milliseconds")
    tpot_ms: float = Field(default=0.0, ge=0, description="between tokens at batch 1, milliseconds")
    tpot_per_request_ms: float = Field(default=0.0, ge=0, description="added for every other running request")
    max_model_len: int = Field(default=4096, ge=16, description="tokens")
    step_ms: float = Field(default=0.0, ge=0, description="a decode step under the real policy; 0: `tpot_ms` instead")
    step_token_ms: float = Field(default=0.0, ge=0, description="added for every token in the step's pass")
    draft_ms: float = Field(default=0.0, ge=0, description="one draft pass")
    acceptance: float = Field(default=0.7, gt=0, le=1, description="mean confidence of a draft token, and its odds")


Engine = Annotated[VllmEngine | FakeEngine, Field(discriminator="kind")]


class Tracing(Settings):
    """Where spans go. How many there are is `trace_sample_ratio` of the Ingress, which is live."""

    exporter: Literal["off", "console", "file", "otlp"] = "file"
    file: str | None = Field(default=None, description="JSON lines; {service} and {pid} are filled in; null: /tmp")
    file_most_mib: int = Field(default=64, ge=1, le=4096, description="then it starts anew; one old file is kept")
    endpoint: str = Field(default="http://127.0.0.1:4318/v1/traces", description="OTLP over HTTP")
    timeout_s: float = Field(default=5, gt=0, le=60, description="of one export, retries included")
    queue_spans: int = Field(default=4096, ge=64, le=1 << 20, description="waiting for export; more are dropped")
    every_s: float = Field(default=1.0, ge=0.05, le=60, description="between exports")
    metrics_endpoint: str | None = Field(default=None, description="OTLP metrics over HTTP; null: Prometheus only")
    metrics_every_s: float = Field(default=15, ge=1, le=3600, description="between exports of metrics")

    @field_validator("file")
    @classmethod
    def _fills_in(cls, file: str | None) -> str | None:
        try:
            (file or "").format(service="", pid=0)
        except (LookupError, ValueError, AttributeError, TypeError) as error:
            raise ValueError("only {service} and {pid} are filled in; write {{ and }} for braces") from error
        return file


class AppArgs(Settings):
    """`args` of the application. A change restarts every replica."""

    engine: Engine
    tracing: Tracing = Tracing()


class ReplicaConfig(Settings):
    """`user_config` of Replica: live within half a second, never a restart."""

    policy: PolicySpec = PolicySpec(name="off")
    report_every_s: float = Field(default=0.25, ge=0.05, le=2, description="between reports to the load monitor")
    stalled_after_s: float = Field(default=60, ge=1, le=600, description="no step though requests are held: unhealthy")


MOST_MS = 600_000.0


class SloClass(Settings):
    """What a kind of request is promised, and what happens to it when the fleet is full."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    ttft_ms: float | None = Field(default=None, gt=0, le=MOST_MS, description="to the first token; null: no objective")
    tpot_ms: float | None = Field(default=None, gt=0, le=MOST_MS, description="mean of a request; null: no objective")
    priority: int = Field(default=0, ge=-1000, le=1000, description="larger goes first")
    reserved_slots: int = Field(default=0, ge=0, le=4096, description="seats a replica keeps free for this class")
    overload: Literal["queue", "shed"] = Field(default="queue", description="wait, or 429 when it would be too late")


class Access(Settings):
    """Who may ask. The config names where tokens are, never the tokens."""

    tokens_env: str | None = Field(default=None, min_length=1, description="variable with tokens, blanks between")
    tokens_file: str | None = Field(default=None, min_length=1, description="file with a token a line; read on reload")
    admin: Literal["token", "open", "closed"] = Field(
        default="token", description="/v1/policy, /v1/replicas, /v1/slo, /metrics, /dashboard; token: as the API"
    )


class DoorRouting(RouteSettings):
    """Reports come four times a second."""

    stale_after_s: float = Field(default=1.0, gt=0, description="an older report is trusted only if all are as old")


class Door(AdmitSettings):
    """An engine's own line would not be in the door's order: no more requests than seats go to it."""

    seats_factor: float = Field(default=1.0, gt=0, description="most requests per seat when no objective limits them")
    routing: DoorRouting = DoorRouting()


class IngressConfig(Settings):
    """`user_config` of Ingress."""

    classes: tuple[SloClass, ...] = Field(default=(SloClass(name="default"),), min_length=1, description="SLO classes")
    default_class: str = Field(default="default", validate_default=True, description="of a request without x-slo-class")
    admission: bool = Field(default=True, description="false: every request goes to a replica at once")
    door: Door = Field(default=Door(), description="when a request waits or is refused, and how replicas are chosen")
    characters_per_token: float = Field(default=4.0, gt=0, le=100, description="to judge a prompt before it is tokens")
    exchange_every_s: float = Field(default=0.25, ge=0.05, le=2, description="between exchanges with the load monitor")

    max_body_bytes: int = Field(default=4 << 20, ge=1024, le=256 << 20, description="larger requests get 413")
    body_timeout_s: float = Field(default=30, gt=0, le=3600, description="a body not complete by then gets 408")
    max_header_bytes: int = Field(default=32 << 10, ge=1024, le=1 << 20, description="larger headers get 431")
    max_depth: int = Field(default=100, ge=8, le=200, description="how deep a body's JSON may nest")
    max_choices: int = Field(default=16, ge=1, le=128, description="largest n a request may ask for")
    max_sequences: int = Field(default=256, ge=1, le=4096, description="prompts of a request times n")
    max_stops: int = Field(default=32, ge=1, le=1024, description="stop strings of a request")
    access: Access = Field(default=Access(), description="bearer tokens, and the operator's routes")
    first_token_timeout_s: float = Field(default=120, gt=0, le=3600, description="of a stream; then 503")
    answer_timeout_s: float = Field(default=3600, gt=0, le=86400, description="of an answer that comes whole; then 503")
    attempts: int = Field(default=3, ge=1, le=10, description="replicas tried while no token has been sent")
    retry_after_s: int = Field(default=1, ge=1, le=600, description="Retry-After when nothing can serve")
    probe_timeout_s: float = Field(default=2, gt=0, le=30, description="for /health, /metrics and /v1/replicas")
    trace_sample_ratio: float = Field(default=0.01, ge=0, le=1, description="of requests without a client's decision")

    @field_validator("classes")
    @classmethod
    def _names_differ(cls, classes: tuple[SloClass, ...]) -> tuple[SloClass, ...]:
        names = [of.name for of in classes]
        if len(set(names)) < len(names):
            raise ValueError("give each class its own name")
        return classes

    @field_validator("default_class")
    @classmethod
    def _default_is_a_class(cls, name: str, info: ValidationInfo) -> str:
        names = [of.name for of in info.data.get("classes", ())]
        if names and name not in names:
            raise ValueError(f"no class has this name; choose one of {', '.join(names)}")
        return name


class MonitorConfig(Settings):
    """`user_config` of LoadMonitor."""

    stale_after_s: float = Field(default=3.0, ge=0.2, le=30, description="a replica silent for longer is not counted")
    forget_after_s: float = Field(default=30.0, ge=1, le=3600, description="a replica silent for longer is dropped")
    outlook: OutlookSettings = Field(default=OutlookSettings(), description="how arrivals are forecast")
    attainment_memory_s: float = Field(default=30.0, ge=1, le=3600, description="how long a finished request counts")
    scaling: ScaleSettings = Field(default=ScaleSettings(), description="how many replicas are wanted")
    start_s: float = Field(
        default=30.0, gt=0, le=3600, description="a replica's start-up time: scaling looks so far ahead"
    )


USER_CONFIGS: dict[str, type[Settings]] = {
    "Ingress": IngressConfig,
    "LoadMonitor": MonitorConfig,
    "Replica": ReplicaConfig,
}
"""The deployments of the application and what their `user_config` may hold."""
