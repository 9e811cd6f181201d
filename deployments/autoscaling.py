"""Serve's replica count follows the load monitor's: named as `autoscaling_config.policy` of Replica.

The monitor decides, by `policies.fleet.scale`; each replica passes its decision on with its autoscaling stats. The
tunables are in the monitor's `user_config`: a change of `policy_kwargs` here would restart every replica.
"""

from __future__ import annotations

from typing import Any

from ray.serve.config import AutoscalingContext

DESIRED = "adaspec_desired_replicas"


def follow(ctx: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """The newest decision any replica has heard; what is wanted already while none has."""
    heard = [series[-1] for series in (ctx.raw_metrics or {}).get(DESIRED, {}).values() if series]
    if not heard:
        return max(1, ctx.target_num_replicas), {}  # with none, nobody would ever say that one is wanted
    newest = max(heard, key=lambda point: point.timestamp)
    return max(1, round(newest.value)), {}
