"""What the live page shows of one moment: rates between two reports of a replica, and what its door saw. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from deployments.observe.outcomes import Recent
from deployments.settings import SloClass
from deployments.status import FleetStatus, ReplicaStatus, SeenReplica
from policies.exchange import ReplicaReport, WhatIf


@dataclass(frozen=True, slots=True)
class ReplicaFrame:
    """One replica. Rates are since the earlier report; None: nothing to tell one from."""

    replica: str
    stale: bool
    policy: str
    fallback: bool
    seats: int
    batch: int
    waiting: int
    k: float | None  # mean over the steps
    k_share: dict[int, float]  # steps by K
    reasons: dict[str, float]  # share of the decisions
    acceptance: float | None  # accepted / (accepted + rejected)
    waste: float | None  # share of drafted tokens that became no output
    tokens_per_s: float
    step_ms: float | None
    predicted_ms: float | None
    decide_us: float | None  # a step
    free_kv: float | None
    reloads: tuple[int, int]  # applied, rejected
    what_if: dict[str, Any] | None


def replica_frame(now: SeenReplica, before: ReplicaReport | None) -> ReplicaFrame:
    """The replica as of `now`, with its rates since `before`."""
    status, report = now.status, now.status.report
    then = _earlier(report, before)
    steps = _grown(report.k_steps, then.k_steps)
    decided = sum(steps.values())
    return ReplicaFrame(
        replica=status.replica,
        stale=now.stale,
        policy=status.policy.name,
        fallback=bool(report.policy_state.get("fallback")),
        seats=status.seats,
        batch=report.batch if decided or report.steps > then.steps else 0,  # as of the last step: an idle one has none
        waiting=report.waiting or 0,
        k=_rounded(_ratio(sum(int(k) * n for k, n in steps.items()), decided)),
        k_share=_shares(steps),
        reasons=_shares(_grown(report.reasons, then.reasons)),
        acceptance=_rounded(
            _ratio(_sum_grown(report.accepted_at, then), _sum_grown(report.reached_at, then, reached=True))
        ),
        waste=_waste(report, then),
        tokens_per_s=round((report.emitted_tokens - then.emitted_tokens) / max(report.at_s - then.at_s, 1e-3), 1),
        step_ms=_ms(report.step_s_recent) if decided else None,
        predicted_ms=_ms(report.step_s_recent * (report.predicted_over_measured or 0.0)) if decided else None,
        decide_us=_rounded(_ratio(1e6 * (report.decide_s - then.decide_s), decided), 1),
        free_kv=_rounded(report.free_kv_fraction),
        reloads=(status.reloads_applied, status.reloads_rejected),
        what_if=None if report.what_if is None else _what_if(report.what_if),
    )


def frame(
    view: FleetStatus,
    before: Mapping[str, ReplicaReport],
    classes: tuple[SloClass, ...],
    counts: Mapping[str, Mapping[str, int]],
    recent: Mapping[str, Recent],
    waiting: Mapping[str, int],
) -> dict[str, Any]:
    """All of it, JSON-able. `before`: an earlier report of each replica."""
    replicas = [replica_frame(seen, before.get(seen.status.replica)) for seen in view.replicas]
    return {
        "t": round(view.at_s, 3),
        "replicas": [{name: getattr(r, name) for name in ReplicaFrame.__slots__} for r in replicas],
        "classes": {of.name: _class(of, counts, recent, waiting) for of in classes},
        "arrival_rps": round(view.outlook.arrival_rps, 2),
    }


def reload_of(now: ReplicaStatus, before: ReplicaStatus | None) -> dict[str, Any] | None:
    """What happened to the replica's config since `before`; without one, what it started with."""
    if before is not None and now.reloads_rejected > before.reloads_rejected and now.last_rejection is not None:
        why = "; ".join(map(str, now.last_rejection.problems))
        return {"t": now.last_rejection.at_s, "replica": now.replica, "ok": False, "text": why}
    if before is None or now.policy != before.policy:
        text = f"{now.policy.name} {now.policy.params}" if now.policy.params else now.policy.name
        return {"t": now.policy_at_s or now.started_at_s, "replica": now.replica, "ok": True, "text": text}
    return None


def _what_if(found: WhatIf) -> dict[str, Any]:
    """Rounded: a frame is sent four times a second."""
    return {
        "batch": found.batch,
        "step_s": [round(s, 6) for s in found.step_s],
        "tokens": [round(t, 3) for t in found.tokens],
    }


def _class(
    of: SloClass, counts: Mapping[str, Mapping[str, int]], recent: Mapping[str, Recent], waiting: Mapping[str, int]
) -> dict[str, Any]:
    seen, last = counts.get(of.name, {}), recent.get(of.name)
    return {
        "ttft_slo_ms": of.ttft_ms,
        "tpot_slo_ms": of.tpot_ms,
        "arrived": seen.get("arrived", 0),
        "shed": seen.get("shed", 0),
        "waiting": waiting.get(of.name, 0),
        **({} if last is None else asdict(last)),
    }


def _earlier(report: ReplicaReport, before: ReplicaReport | None) -> ReplicaReport:
    """`before`, or the report itself (no rates yet) where there is none or the engine started anew."""
    return report if before is None or before.steps > report.steps else before


def _grown(now: Mapping[Any, int], then: Mapping[Any, int]) -> dict[Any, int]:
    return {key: n - then.get(key, 0) for key, n in now.items() if n > then.get(key, 0)}


def _sum_grown(now: list[int], then: ReplicaReport, *, reached: bool = False) -> int:
    return sum(now) - sum(then.reached_at if reached else then.accepted_at)


def _shares(counts: Mapping[Any, int]) -> dict[Any, float]:
    total = sum(counts.values())
    return {key: round(n / total, 3) for key, n in counts.items()}


def _waste(report: ReplicaReport, then: ReplicaReport) -> float | None:
    kept = _ratio(report.accepted_tokens - then.accepted_tokens, report.drafted_tokens - then.drafted_tokens)
    return None if kept is None else _rounded(min(max(1 - kept, 0.0), 1.0))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)


def _ms(seconds: float) -> float | None:
    return round(1e3 * seconds, 2) if seconds else None
