"""Fleet views for tests."""

from typing import Any

import numpy as np

from policies.fleet.views import FleetView


def fleet(replicas: int = 1, **columns: Any) -> FleetView:
    """Idle replicas of 10 ms steps, 1 ms more per request, 32 seats, 1,000 prompt tokens/s; `columns` override."""
    base: dict[str, Any] = {
        "age_s": 0.1,
        "batch": 0,
        "waiting": 0,
        "backlog_tokens": 0,
        "sent": 0,
        "sent_tokens": 0,
        "seats": 32,
        "step_s": 0.010,
        "step_per_request_s": 0.001,
        "tokens_per_step": 1,
        "prefill_tokens_per_s": 1000,
        "residence_s": 2,
        "free_kv_fraction": np.nan,
    }
    return FleetView(
        **{name: np.broadcast_to(np.asarray(v, np.float64), (replicas,)) for name, v in (base | columns).items()}
    )
