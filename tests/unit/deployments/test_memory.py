from pathlib import Path

import pytest

from deployments import memory
from deployments.memory import GIB, available_gib, total_gib


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 GiB, 10 of them available, no container."""
    file = tmp_path / "meminfo"
    file.write_text(f"MemTotal: {16 << 20} kB\nMemFree: {2 << 20} kB\nMemAvailable: {10 << 20} kB\n")
    monkeypatch.setattr(memory, "MEMINFO", file)
    monkeypatch.setattr(memory, "GROUPS", ())


def container(folder: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{5 * GIB}\n")
    (folder / "memory.stat").write_text(f"anon {3 * GIB}\ninactive_file {2 * GIB}\n")
    monkeypatch.setattr(
        memory, "GROUPS", ((str(folder / "memory.max"), str(folder / "memory.current"), "inactive_file"),)
    )


@pytest.mark.usefixtures("machine")
def test_without_a_container_it_is_the_machines() -> None:
    assert (total_gib(), available_gib()) == (16, 10)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("limit", "total", "available"), [("max", 16, 10), (str(8 * GIB), 8, 5), (str(64 * GIB), 16, 10)]
)
def test_a_container_counts_where_it_has_less_and_its_file_cache_is_not_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, total: float, available: float
) -> None:
    container(tmp_path, monkeypatch, limit)
    assert (total_gib(), available_gib()) == (total, available)


def test_this_machine_has_memory() -> None:
    assert 0 < available_gib() <= total_gib()
