"""How much memory there is, and how much of it a new process could have: the machine's or the container's, if less."""

from __future__ import annotations

from pathlib import Path

GIB = 2**30
MEMINFO = Path("/proc/meminfo")
GROUPS = (  # limit, use, and the name under which cached file pages, given back on demand, are part of that use
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "inactive_file"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "total_inactive_file",
    ),
)
"""Control groups, version 2 and version 1."""


def total_gib() -> float:
    """What could ever be had here, GiB."""
    return min([_meminfo("MemTotal"), *(limit for limit, _ in _groups())]) / GIB


def available_gib() -> float:
    """What can be had now, GiB: free memory, and caches that give way."""
    return min([_meminfo("MemAvailable"), *(limit - used for limit, used in _groups())]) / GIB


def _meminfo(name: str) -> int:
    lines = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def _groups() -> list[tuple[int, int]]:
    """Limit and use of this container, bytes; empty without one."""
    found = []
    for limit, used, cached in GROUPS:
        if not Path(limit).exists() or (most := Path(limit).read_text().strip()) == "max":
            continue
        stat = dict(line.split() for line in Path(used).with_name("memory.stat").read_text().splitlines())
        found.append((int(most), int(Path(used).read_text()) - int(stat[cached])))
    return found
