"""What `--additional-config '{"adaspec": {...}}'` may say."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policies.estimators.cost import LinearCoefficients
from policies.registry import PolicySpec

KEY = "adaspec"


class EngineSettings(BaseModel):
    """Under vLLM's additional config, key `adaspec`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: PolicySpec = Field(default=PolicySpec(name="off"), description="the policy to start with")
    soft_limit_ms: float = Field(default=2.0, gt=0, description="one step's policy hooks; 3 overruns in 100: fallback")
    soft_limit_share: float = Field(default=0.1, ge=0, le=1, description="of the step, where that is more than the ms")
    hard_limit_ms: float = Field(default=200.0, gt=0, description="a hook is interrupted after this long")
    build_limit_ms: float = Field(
        default=5000.0, gt=0, description="a policy's constructor, snapshot or restore is interrupted after this long"
    )
    catch_up: bool = Field(default=True, description="False is a test's control: speculation resumes with cache holes")
    cost: LinearCoefficients | None = Field(default=None, description="a profile's time model; null: learned online")
    seed: int = Field(default=0, ge=0)

    @classmethod
    def of(cls, additional_config: Any) -> EngineSettings:
        """The settings in vLLM's additional config.

        Raises:
            ValueError: naming the field, the value and the fix.
        """
        given = additional_config.get(KEY, {}) if isinstance(additional_config, dict) else {}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise ValueError("; ".join(_line(e) for e in error.errors(include_url=False))) from error


def _line(error: Any) -> str:
    where = ".".join(map(str, (KEY, *error["loc"])))
    return f"additional_config.{where}: {error['input']!r}: {error['msg']}"
