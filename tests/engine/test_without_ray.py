"""The engine's modules are used without the service: `vllm serve` on a machine where Ray is not installed."""

import subprocess
import sys

REFUSE_RAY = """
import importlib.abc, sys

class NoRay(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")

sys.meta_path.insert(0, NoRay())
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", REFUSE_RAY + code], capture_output=True, text=True, check=False)


def test_the_refusal_refuses() -> None:
    assert "No module named 'ray'" in run("import ray").stderr


def test_the_worker_scheduler_and_executor_import_where_ray_is_not_installed() -> None:
    done = run(
        "import deployments.engine.worker as w, deployments.engine.scheduler as s, deployments.engine.executor as e\n"
        "print(w.AdaptiveWorker.__name__, s.AdaptiveScheduler.__name__, e.AdaptiveExecutor.__name__)\n"
        "assert 'ray' not in sys.modules"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["AdaptiveWorker", "AdaptiveScheduler", "AdaptiveExecutor"]
