"""The rooms import from any working directory, and importing them is free of side effects that cost time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FRAMEWORKS = {"ray", "vllm", "torch", "locust", "transformers"}


def frameworks_after_import(module: str, cwd: Path) -> set[str]:
    """The frameworks a fresh interpreter has loaded after importing `module`."""
    code = f"import json, sys, {module}; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    return FRAMEWORKS & set(json.loads(done.stdout))


@pytest.mark.parametrize("package", ["policies", "deployments", "deployments.engine", "loadgen"])
def test_a_package_is_installed_and_its_init_loads_no_framework(package: str, tmp_path: Path) -> None:
    assert frameworks_after_import(package, tmp_path) == set()
