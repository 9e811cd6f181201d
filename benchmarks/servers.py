"""A server under measurement: started, asked whether it is up, put to sleep between its rounds, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

START_S = 600
WAKE_S = 60  # from sleep to its first answer
TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A context manager around a server's process tree."""

    def __init__(self, command: list[str], port: int, model: str, env: Mapping[str, str]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.model = model
        self.command = command
        self._env = {**os.environ, **env}
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self.command, env=self._env, start_new_session=True)
        try:
            self._until_it_answers(START_S, 0.5)
        except RuntimeError:
            self.__exit__(None, None, None)
            raise
        self._signal(signal.SIGSTOP)
        return self

    def __exit__(self, *_: object) -> None:
        tree = self.tree()
        self._signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
        for pid in tree:  # workers whose parent went first
            kill(pid, signal.SIGKILL)

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Runs inside the block only. RuntimeError if it does not answer within `WAKE_S`."""
        self._signal(signal.SIGCONT)
        try:
            self._until_it_answers(WAKE_S, 0.1)
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def cpu_s(self) -> float:
        """CPU time of the tree so far, user and system."""
        return sum(cpu_s(pid) for pid in self.tree())

    def tree(self) -> list[int]:
        """The server's process and everything below it."""
        return tree(self._process.pid)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.tree():
            kill(pid, number)

    def _until_it_answers(self, limit_s: float, every_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(self.command[:3])} ended or did not answer within {limit_s} s")
            time.sleep(every_s)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:  # noqa: S310 - http
                return bool(answer.status == 200)
        except OSError:
            return False


def unbound(threads: int) -> dict[str, str]:
    """Environment of an engine with so many threads on whatever cores the system picks."""
    return {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(threads)}


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def tree(root: int) -> list[int]:
    """A process and everything below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def title(pid: int) -> str:
    """A process's command line; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def kill(pid: int, number: signal.Signals) -> None:
    """Signal a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def stat(pid: int) -> list[str]:
    """/proc/PID/stat from the state field on; empty if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def cpu_s(pid: int) -> float:
    """User and system time of one process, seconds."""
    fields = stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0
