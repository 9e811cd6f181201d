"""What a run's Locust and who watches it share: how it stands, twice a second in a file, and why it did not start."""

from __future__ import annotations

import json
from collections import Counter, deque
from pathlib import Path
from typing import Any

import numpy as np

from loadgen.outcome import Outcome
from loadgen.schedule import Schedule

RECENT_S, WRITE_EVERY_S = 10.0, 0.5
RECENT_ANSWERS = 200  # enough for a median; sorting more would keep sends waiting
FILE, REFUSAL = "progress.json", "refused.txt"
API_KEY = "LOADGEN_API_KEY"  # by environment: a command's words are in every list of processes


class Progress:
    """Counts, and medians over the latest answers of the last ten seconds."""

    def __init__(self, schedule: Schedule, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._file = out / FILE
        self._schedule = schedule
        self._due_s = np.array([r.at_s for r in schedule.requests])
        self._recent: deque[Outcome] = deque(maxlen=RECENT_ANSWERS)
        self._written: deque[tuple[float, int]] = deque([(0.0, 0)], maxlen=round(RECENT_S / WRITE_EVERY_S))
        self._errors: Counter[str] = Counter()
        self._finished = self._tokens = 0
        self._note: str | None = None

    def add(self, outcome: Outcome) -> None:
        self._recent.append(outcome)
        self._finished += 1
        self._tokens += outcome.output_tokens
        if outcome.error is not None:
            self._errors[outcome.error] += 1

    def no_counters(self, why: str) -> None:
        self._note = f"no counters: {why}"

    def state(self, now_s: float) -> dict[str, Any]:
        recent = [
            o for o in self._recent if o.end_s is not None and o.first_s is not None and o.end_s > now_s - RECENT_S
        ]
        ttft = [1e3 * (o.first_s - o.at_s) for o in recent if o.first_s is not None]
        tpot = [1e3 * (o.chunks_s[-1] - o.chunks_s[0]) / (o.output_tokens - 1) for o in recent if o.output_tokens > 1]
        return {
            "at_s": round(now_s, 1),
            "planned": len(self._due_s),
            "due": int(np.searchsorted(self._due_s, now_s, "right")),
            "finished": self._finished,
            "errors": dict(self._errors),
            "tokens": self._tokens,
            "recent_tokens_per_s": self._tokens_per_s(now_s),
            "recent_ttft_p50_ms": round(float(np.median(ttft)), 1) if ttft else None,
            "recent_tpot_p50_ms": round(float(np.median(tpot)), 1) if tpot else None,
            "note": self._note,
        }

    def write(self, now_s: float) -> None:
        """Whole or not at all: a reader never sees half a file."""
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(self.state(now_s)))
        part.replace(self._file)
        self._written.append((now_s, self._tokens))

    def _tokens_per_s(self, now_s: float) -> float:
        """Of the answers that ended since the oldest state kept."""
        since_s, tokens = self._written[0]
        return round((self._tokens - tokens) / max(now_s - since_s, WRITE_EVERY_S), 1)


def read(out: Path) -> dict[str, Any] | None:
    """The last state written; None before the first."""
    try:
        found: dict[str, Any] = json.loads((out / FILE).read_text())
    except FileNotFoundError:
        return None
    return found


def refuse(out: Path, why: str | None) -> None:
    """Leaves word why the run did not start; None: it did, and what an earlier one left is gone."""
    if why is None:
        (out / REFUSAL).unlink(missing_ok=True)
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / REFUSAL).write_text(why)


def refusal(out: Path) -> str | None:
    """Why the run did not start; None if it did, or ended without saying."""
    file = out / REFUSAL
    return file.read_text() if file.exists() else None
