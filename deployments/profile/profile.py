"""A profile on disk: what it was measured on, what was found, a checksum. A replica takes it whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policies.estimators.cost import LinearCoefficients

REMEDY = "run `make profile` again, or remove args.engine.profile"


class ProfileRefused(ValueError):
    """A profile that must not be used. The message names the file, what is wrong and the fix."""


class Strict(BaseModel):
    """Base of everything in a profile."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Key(Strict):
    """What step times and acceptance depend on; a profile fits where all of it is the same."""

    device: str
    target: str = Field(description="digest of the model's content")
    draft: str = Field(description="the same")
    dtype: str
    tensor_parallel_size: int = Field(ge=1)
    vllm: str


class Profile(Strict):
    """Time model and acceptance of one pair on one machine."""

    format: Literal[1] = 1
    key: Key
    made_at: str = Field(description="ISO 8601")
    coefficients: LinearCoefficients
    acceptance: tuple[float, ...] = Field(description="by draft position, given that the ones before were accepted")
    held_out: dict[str, Any] = Field(description="errors on shapes that were not fitted, by region of batch")

    def save(self, path: Path) -> None:
        """Writes JSON with a checksum; the file appears whole or not at all."""
        sealed = Sealed(**dict(self), checksum=self.digest())
        unfinished = path.with_suffix(".part")
        unfinished.write_text(sealed.model_dump_json(indent=1) + "\n")
        unfinished.replace(path)

    def digest(self) -> str:
        """SHA-256 of everything but the checksum."""
        content = self.model_dump(mode="json", exclude={"checksum"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Sealed(Profile):
    """A profile as it lies on disk."""

    checksum: str


def load(path: Path, key: Key) -> Profile:
    """The profile at `path`, made for `key`.

    Raises:
        ProfileRefused: missing, truncated, altered, of another format, or made for something else.
    """
    profile = read(path)
    ours, theirs = key.model_dump(), profile.key.model_dump()
    stale = [f"{name} was {theirs[name]!r} and is {ours[name]!r}" for name in ours if ours[name] != theirs[name]]
    if stale:
        raise ProfileRefused(f"args.engine.profile: {path}: made for something else: {'; '.join(stale)}; {REMEDY}")
    return profile


def read(path: Path) -> Profile:
    """The profile at `path`, whatever it was made for. Raises ProfileRefused as `load`."""
    try:
        found = Sealed.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ProfileRefused(f"args.engine.profile: {path}: {error.strerror}; {REMEDY}") from error
    except ValidationError as error:
        why = str(error).splitlines()[0]
        raise ProfileRefused(f"args.engine.profile: {path}: truncated or not a profile ({why}); {REMEDY}") from error
    if found.checksum != found.digest():
        raise ProfileRefused(f"args.engine.profile: {path}: its checksum does not match its content; {REMEDY}")
    return found
