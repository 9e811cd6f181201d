"""How often to look whether drafting would pay again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ProbeBudget:
    """Saves up a share of the time spent at K = 0; a probe is due when it pays for the probe's extra time.

    So dear probes are rare and cheap ones frequent, whatever the machine: their cost is at most `share` of the time.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._saved_s = 0.0

    def afford(self, plain_s: float, probe_s: float) -> bool:
        """Saves for one plain step; whether a step of `probe_s` in its place is paid for."""
        extra_s = max(probe_s - plain_s, 0.0)
        self._saved_s = min(self._saved_s + self._share * plain_s, 2.0 * extra_s)
        return self._share > 0 and self._saved_s >= extra_s

    def spend(self) -> None:
        self._saved_s = 0.0

    def snapshot(self) -> dict[str, Any]:
        return {"saved_s": self._saved_s}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._saved_s = float(state["saved_s"])
