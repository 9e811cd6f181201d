"""How fast the servers' core is at the moment.

On a shared machine neighbours take cache, memory and clock from a core without any of it showing in its own load. For
minutes it may be half as fast, and arms measured then do not compare with the others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.pair import ROOT

MOST = 1.1
"""Slowness from which a window is run again."""
LAYERS, WIDTH, ROWS = 30, 1024, 8  # 126 MB of float32 read once, little computed: a decode step of the 30M target
PASSES, TRIES = 40, 5
FILE = "pace.json"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Pace:
    """Of a core, against what it did when a folder's first window was run."""

    reference_ms: float
    now_ms: Callable[[], float]  # takes about a second, while nothing of ours runs on the core

    @classmethod
    def of(cls, folder: Path, now_ms: Callable[[], float]) -> Pace:
        """The reference is the best of five, measured once."""
        file = folder / FILE
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"ms": round(min(now_ms() for _ in range(TRIES)), 3)}) + "\n")
        return cls(float(json.loads(file.read_text())["ms"]), now_ms)

    def slowness(self) -> float:
        """Times what it took then."""
        return self.now_ms() / self.reference_ms

    def wait(self, until_s: float, pause_s: float = 5.0) -> float:
        """The slowness once it is below `MOST`, or at `until_s` on the monotonic clock."""
        found, said = self.slowness(), False
        while found > MOST and time.monotonic() < until_s:
            if not said:
                print(f"the core takes {found:.2f} times what it took at first: waiting", flush=True)
            said = True
            time.sleep(pause_s)
            found = self.slowness()
        return found


def keep(run: Path, slowness: list[float]) -> None:
    """Beside a finished run: how slow its core was before and after."""
    (run / FILE).write_text(json.dumps({"slowness": [round(s, 3) for s in slowness]}) + "\n")


def slowed(run: Path) -> float | None:
    """The slowness kept with a run where it is above `MOST`."""
    file = run / FILE
    worst = float(max(json.loads(file.read_text())["slowness"])) if file.exists() else 0.0
    return worst if worst > MOST else None


def of_core(core: int) -> Callable[[], float]:
    """Milliseconds of a fixed piece of work on that core."""
    words = ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.serving.pace"]

    def now_ms() -> float:
        done = subprocess.run(words, cwd=ROOT, env=os.environ | ONE_THREAD, capture_output=True, check=True)
        return float(done.stdout)

    return now_ms


def work_ms() -> float:
    """Median of the passes over the weights."""
    weights, rows = np.ones((LAYERS, WIDTH, WIDTH), np.float32), np.ones((ROWS, WIDTH), np.float32)
    took_ms = []
    for _ in range(PASSES):
        began_s = time.perf_counter()
        for layer in weights:
            np.matmul(rows, layer)
        took_ms.append(1e3 * (time.perf_counter() - began_s))
    return float(np.median(took_ms))


if __name__ == "__main__":
    print(work_ms())
