"""Memory and descriptors of every process of the service, sampled, and whether they grow."""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scipy.stats import theilslopes

from benchmarks.servers import title, tree

PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
SERVING = {"Ingress": "ingress", "LoadMonitor": "monitor", "Replica": "replica"}
SETTLED = 0.2  # share of the run left out at its begin: caches fill, allocators take what they will keep


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one time."""

    at_s: float
    name: str
    pid: int
    rss_mib: float
    descriptors: int


@dataclass(frozen=True, slots=True)
class Growth:
    """Theil and Sen's slope of one process's figure with its 95 % interval, an hour."""

    name: str
    pid: int
    samples: int
    first: float
    last: float
    per_hour: float
    low: float
    high: float


def sample(at_s: float) -> list[Sample]:
    """Every process below this one that is still there."""
    return [found for pid in tree(os.getpid())[1:] if (found := _of(pid, at_s)) is not None]


def _of(pid: int, at_s: float) -> Sample | None:
    named = name(title(pid))
    try:
        rss_pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
    return Sample(at_s, named, pid, rss_pages * PAGE_MIB, descriptors) if named else None


def name(titled: str) -> str:
    """A short name for a command line: the deployment, vLLM's or Ray's own name for it, else the program."""
    if found := re.match(r"ray::ServeReplica:\w+:(\w+)", titled):
        return SERVING.get(found[1], found[1])
    first, *others = titled.split(" ")
    if "::" in first:
        return first.partition(".")[0]
    script = next((word for word in others if word.endswith(".py")), first)
    return Path(script if Path(first).name.startswith("python") else first).name


def growth(samples: list[Sample], of: Callable[[Sample], float]) -> list[Growth]:
    """By process, of those that were there for most of the time."""
    begin_s, end_s = (edge(s.at_s for s in samples) for edge in (min, max))
    rows: defaultdict[tuple[str, int], list[Sample]] = defaultdict(list)
    for s in samples:
        if s.at_s >= begin_s + SETTLED * (end_s - begin_s):
            rows[s.name, s.pid].append(s)
    most = max(map(len, rows.values()))
    return [_slope(found, of) for found in rows.values() if len(found) > max(most / 2, 3)]


def _slope(found: list[Sample], of: Callable[[Sample], float]) -> Growth:
    values = [of(s) for s in found]
    slope, _, low, high = theilslopes(values, [s.at_s / 3600 for s in found])
    low, high = (float(edge) if math.isfinite(edge) else float(slope) for edge in (low, high))
    return Growth(found[0].name, found[0].pid, len(found), values[0], values[-1], float(slope), low, high)


def slopes(samples: list[Sample]) -> dict[str, list[dict[str, Any]]]:
    """Of memory and of descriptors, every process, the steepest first."""
    kinds: dict[str, Callable[[Sample], float]] = {
        "rss_mib": lambda s: s.rss_mib,
        "descriptors": lambda s: float(s.descriptors),
    }
    return {
        kind: [asdict(g) for g in sorted(growth(samples, of), key=lambda g: -g.per_hour)] for kind, of in kinds.items()
    }
