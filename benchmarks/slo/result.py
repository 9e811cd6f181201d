"""Results beside where they came from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.provenance import provenance

HERE = Path(__file__).parents[1] / "results" / "slo"


def write(name: str, result: dict[str, Any], config: dict[str, Any]) -> None:
    """`name`.json and `name`.provenance.json; the result to the terminal too."""
    HERE.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)
    (HERE / f"{name}.json").write_text(text + "\n")
    (HERE / f"{name}.provenance.json").write_text(json.dumps(provenance(config), indent=1) + "\n")
    sys.stdout.write(text + "\n")
