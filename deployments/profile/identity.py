"""What an engine runs on and with: the key of its profile."""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vllm.platforms import current_platform

from deployments.preflight import folder_of
from deployments.profile.profile import Key
from deployments.settings import VllmEngine

BIND = "VLLM_CPU_OMP_THREADS_BIND"
SAMPLES, SAMPLE_BYTES = 64, 1 << 16


def key_of(engine: VllmEngine) -> Key:
    """Reads the models' files; a hub id not downloaded yet is known by its name only."""
    return Key(
        device=_device(engine),
        target=digest(engine.model),
        draft="none" if engine.draft is None else digest(engine.draft),
        dtype=engine.dtype,
        tensor_parallel_size=engine.tensor_parallel_size,
        vllm=_vllm_version(),
    )


def digest(model: str) -> str:
    """Of the model's configuration and weights.

    From large weight files it takes samples spread over the file: retraining changes every part of it, and a replica of
    a 70B model must not read 140 GB more to start.
    """
    folder = folder_of(model)
    if folder is None:
        return f"hub:{model}"
    total = hashlib.sha256()
    for file in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        total.update(f"{file.name} {file.stat().st_size} ".encode())
        _sample(file, total)
    return total.hexdigest()[:32]


def _sample(file: Path, total: hashlib._Hash) -> None:
    size = file.stat().st_size
    stride = max(size // SAMPLES, SAMPLE_BYTES)
    with file.open("rb") as opened:
        for start in range(0, size, stride):
            opened.seek(start)
            total.update(opened.read(SAMPLE_BYTES))


def _device(engine: VllmEngine) -> str:
    if not current_platform.is_cpu():
        return str(current_platform.get_device_name())
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    bound = engine.env.get(BIND, os.environ.get(BIND, "auto"))
    return f"{name}, {len(os.sched_getaffinity(0))} cores, threads bound: {bound}"


def _vllm_version() -> str:
    for name in ("vllm", "vllm-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"
