"""Where a result came from: written beside every number."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any


def provenance(
    command: list[str], seed: int, packages: Sequence[str] = ("numpy", "scipy", "pydantic")
) -> dict[str, Any]:
    """What it takes to run the same thing again."""
    root = Path(__file__).parent
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)  # noqa: S607
    return {
        "command": " ".join(command),
        "seed": seed,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": head.stdout.strip() or "not a git checkout",
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in packages},
        "machine": f"{platform.machine()}, {platform.system()}",
    }
