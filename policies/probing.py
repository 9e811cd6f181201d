"""How often to look whether drafting would pay again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CREDIT = 0.25
"""Plain steps: a probe believed to cost more is still tried once so much is saved, and the rest paid off later. Else a
machine that stalled in its first drafting steps would look too dear to be looked at again for long."""


class Reminder:
    """When to decode a step plainly although drafting pays.

    What plain decoding takes is otherwise worked out from steps that verify drafts, and a tenth too much of it decides
    where drafting gains little. After 8 steps, then twice as long each time, at last every 128.
    """

    FIRST, LAST = 8, 128

    def __init__(self) -> None:
        self._after, self._drafted = self.FIRST, 0

    def due(self, *, drafting: bool) -> bool:
        """Counts one step; whether its drafting should be left out."""
        self._drafted = self._drafted + 1 if drafting else 0
        if self._drafted < self._after:
            return False
        self._after, self._drafted = min(2 * self._after, self.LAST), 0
        return True

    def snapshot(self) -> dict[str, Any]:
        return {"after": self._after, "drafted": self._drafted}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._after, self._drafted = int(state["after"]), int(state["drafted"])


class ProbeBudget:
    """Saves up a share of the time spent at K = 0; a probe is due when it pays for the probe's extra time.

    So dear probes are rare and cheap ones frequent, whatever the machine: their cost is at most `share` of the time and
    one probe in advance.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._saved_s = 0.0
        self._believed_s = self._paid_s = 0.0  # for the last probe's step

    def afford(self, plain_s: float, probe_s: float, steps: int = 1) -> bool:
        """Saves for the last `steps` plain steps; whether a step of `probe_s` in place of the next is paid for."""
        due_s = self.charge(plain_s, probe_s) - plain_s
        self._saved_s = min(self._saved_s + self._share * steps * plain_s, 2.0 * due_s)
        return self._share > 0 and self._saved_s >= due_s

    @staticmethod
    def charge(plain_s: float, probe_s: float) -> float:
        """The time a probe is taken to need until it was tried."""
        return min(max(probe_s, plain_s), (1.0 + CREDIT) * plain_s)

    def spend(self, plain_s: float, probe_s: float) -> None:
        """Pays for a probe that is begun, once it can be afforded: all that was saved."""
        self._believed_s, self._paid_s = probe_s, self.charge(plain_s, probe_s)
        self._saved_s = 0.0

    def settle(self, step_s: float) -> None:
        """What it took in truth is owed, as far as it was believed: a step that stalls does not end all probing."""
        self._saved_s -= max(min(step_s, self._believed_s) - self._paid_s, 0.0)

    def snapshot(self) -> dict[str, Any]:
        return {"saved_s": self._saved_s}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._saved_s = float(state["saved_s"])
