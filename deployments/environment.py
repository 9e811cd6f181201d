"""What Ray and vLLM read from the environment before any of our code runs, so that no config file can set it.

In a shell: eval "$(python -m deployments.environment)"
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

REQUIRED = {
    "RAY_AUTH_MODE": "disabled",  # ray.init() leaves a token behind that a later start would demand
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # Ray runs its workers at nice 15: whatever else the machine does would starve them
    "VLLM_NO_USAGE_STATS": "1",
    # Every token passes three of Serve's processes: by gRPC instead of through Ray's object store, and without a hop
    # between two threads in each (docs/serving.md has what that saves). Our code never blocks their loops for long.
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    # 4 MiB by default, either way: a long answer with log probabilities is more, and so may a request be.
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(512 << 20),
    # A lost HTTP proxy is replaced after three checks that fail: half a minute by default, and nobody can connect.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.5",
}


def missing(environ: Mapping[str, str]) -> dict[str, str]:
    """What `environ` does not say; a value of the user's own is left alone."""
    return {name: value for name, value in REQUIRED.items() if name not in environ}


def exports(wanted: Mapping[str, str]) -> str:
    """The shell command that sets `wanted`."""
    return "export " + " ".join(f"{name}={value}" for name, value in wanted.items())


if __name__ == "__main__":
    sys.stdout.write(f"{exports(missing(os.environ)) if missing(os.environ) else ':'}\n")
