"""What can be seen to be wrong with a pair of models before an engine spends a minute on finding out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from deployments.memory import GIB, available_gib, total_gib
from deployments.problems import Problem, of_draft
from deployments.settings import VllmEngine

PROCESSES_GIB = 3.0  # without weights and cache: 1.9 for replica, core and worker, 1.1 for Ray and ours, measured
BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1}
LONGER = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}


def require_loadable(engine: VllmEngine, prefix: str = "args.engine") -> None:
    """Raises ValueError with every problem found, memory that others hold now included."""
    found = problems(engine, prefix, starting=True)
    if found:
        raise ValueError("; ".join(map(str, found)))


def problems(engine: VllmEngine, prefix: str = "args.engine", *, starting: bool = False) -> list[Problem]:
    """Missing files, vocabularies that do not match, too little memory. Hub ids are checked only if downloaded.

    Unless it is `starting`, the engine is held against all the memory there is: the service that runs now and will make
    room, or go on under the same engine, is no reason to refuse a file.
    """
    named = {"model": engine.model} | ({} if engine.draft is None else {"draft": engine.draft})
    found = [p for field, name in named.items() if (p := _missing(f"{prefix}.{field}", name))]
    if found:
        return found
    found += _contradictions(engine, prefix)
    folders = {field: folder for field, name in named.items() if (folder := folder_of(name))}
    try:
        found += _context(engine, folders, prefix)
        if len(folders) == 2:
            found += _vocabularies(folders["model"], folders["draft"], f"{prefix}.draft", str(engine.draft))
        return found + _memory(engine, list(folders.values()), prefix, starting=starting)
    except Damaged as error:
        return [*found, Problem(field=f"{prefix}.model", value=str(error.file), fix=f"{error}; fetch the model again")]


class Damaged(ValueError):
    """A model's file that is not what its name says."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"not readable: {why}")
        self.file = file


def _contradictions(engine: VllmEngine, prefix: str) -> list[Problem]:
    """Settings that no engine starts with."""
    found = of_draft(engine.safe_policy, engine.draft, f"{prefix}.safe_policy")
    if engine.draft is not None and engine.tensor_parallel_size > 1:
        fix = "one decision would have to reach every rank: use 1 and more replicas, or no draft"
        found.append(Problem(field=f"{prefix}.tensor_parallel_size", value=engine.tensor_parallel_size, fix=fix))
    template = engine.chat_template
    if template is not None and not set("{}\n") & set(template) and not _is_template(template):
        found.append(Problem(field=f"{prefix}.chat_template", value=template, fix="no such file"))
    return found


def _is_template(name: str) -> bool:
    """A file, or the name of one that vLLM brings along."""
    vllm = find_spec("vllm")
    shipped = [
        Path(folder) / "transformers_utils/chat_templates"
        for folder in (vllm and vllm.submodule_search_locations) or ()
    ]
    return any((folder / name).is_file() for folder in (Path(), *shipped))


def _context(engine: VllmEngine, folders: Mapping[str, Path], prefix: str) -> list[Problem]:
    """A context that a model was not trained for. Stretched and overridden ones are vLLM's to judge."""
    allowed = {**os.environ, **engine.env}.get(LONGER, "0") not in {"0", "false", "False"}
    if allowed or "hf_overrides" in engine.vllm_args:
        return []
    most = {field: _longest(folder) for field, folder in folders.items()}
    asked = engine.max_model_len or most.get("model")
    if asked is None:
        return []
    return [
        Problem(field=f"{prefix}.max_model_len", value=engine.max_model_len, fix=f"the {field} takes {length} at most")
        for field, length in most.items()
        if length is not None and length < asked
    ]


def _longest(folder: Path) -> int | None:
    config = _text_config(folder)
    rope = config.get("rope_parameters") or {}
    stretched = (
        config.get("rope_scaling")
        or "factor" in rope
        or any("factor" in inner for inner in rope.values() if isinstance(inner, dict))
    )
    length = config.get("max_position_embeddings")
    return length if isinstance(length, int) and not stretched and "model_max_length" not in config else None


def _missing(field: str, name: str) -> Problem | None:
    looks_local = name.startswith((".", "/", "~")) or Path(name).exists()
    folder = Path(name).expanduser()
    if looks_local:
        if not folder.is_dir():
            return Problem(field=field, value=name, fix=f"no such directory: {folder.absolute()}")
        for pattern, what in (
            ("config.json", "configuration"),
            ("tokenizer*", "tokenizer"),
            ("*.safetensors", "weights"),
        ):
            if not any(folder.glob(pattern)):
                return Problem(field=field, value=name, fix=f"the directory has no {what} ({pattern})")
    elif os.environ.get("HF_HUB_OFFLINE") == "1" and folder_of(name) is None:
        fix = "not a directory and not in the local hub cache, and HF_HUB_OFFLINE=1; give a path, or set it to 0"
        return Problem(field=field, value=name, fix=fix)
    return None


def folder_of(name: str) -> Path | None:
    """Where the model's files are, if they are here."""
    local = Path(name).expanduser()
    if local.is_dir():
        return local
    cached = try_to_load_from_cache(name, "config.json") if name.count("/") == 1 else None
    return Path(cached).parent if isinstance(cached, str) else None


def _vocabularies(target: Path, draft: Path, field: str, name: str) -> list[Problem]:
    sizes = [_text_config(folder).get("vocab_size") for folder in (target, draft)]
    if sizes[0] != sizes[1]:
        fix = f"its vocabulary has {sizes[1]} tokens and the target's {sizes[0]}; use a draft of the same family"
        return [Problem(field=field, value=name, fix=fix)]
    files = [folder / "tokenizer.json" for folder in (target, draft)]
    if all(file.exists() for file in files):
        words = [_json(file).get("model", {}).get("vocab") for file in files]
        if words[0] != words[1]:
            fix = "its tokenizer gives the same ids to other words than the target's; use a draft of the same family"
            return [Problem(field=field, value=name, fix=fix)]
    return []


def _text_config(folder: Path) -> dict[str, Any]:
    config = _json(folder / "config.json")
    nested = config.get("text_config") or config
    return nested if isinstance(nested, dict) else config


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise Damaged(file, str(error)) from error
    if not isinstance(found, dict):
        raise Damaged(file, "no JSON object")
    return found


def _memory(engine: VllmEngine, folders: list[Path], prefix: str, *, starting: bool) -> list[Problem]:
    """On a CPU only: on a GPU vLLM itself says what does not fit, before it loads anything."""
    if Path("/proc/driver/nvidia/version").exists():
        return []
    weights_gib = sum(_weights_gib(folder, engine.dtype) for folder in folders)
    need_gib = weights_gib + (engine.kv_cache_gib or 0.0) + PROCESSES_GIB
    room_gib = available_gib() if starting else total_gib()
    if need_gib <= room_gib:
        return []
    fix = (
        f"needs about {need_gib:.1f} GiB ({weights_gib:.1f} weights, {engine.kv_cache_gib or 0:.1f} KV cache, "
        f"{PROCESSES_GIB:.1f} processes) and {room_gib:.1f} GiB are {'free' if starting else 'all there is'}; "
        f"{'end what holds memory, ' if starting else ''}lower kv_cache_gib or use a smaller model"
    )
    return [Problem(field=f"{prefix}.model", value=engine.model, fix=fix)]


def _weights_gib(folder: Path, dtype: str) -> float:
    """Size once loaded: parameters as counted in the files' headers, at the width they will have."""
    total = 0
    for file in folder.glob("*.safetensors"):
        for tensor in _header(file).values():
            count = 1
            for side in tensor["shape"]:
                count *= side
            total += count * WIDTHS.get(dtype, BYTES.get(tensor["dtype"], 2))
    return total / GIB


def _header(file: Path) -> dict[str, Any]:
    """The tensors of a safetensors file: 8 bytes of length, then JSON."""
    try:
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            most = file.stat().st_size - 8
            header: dict[str, Any] = json.loads(opened.read(size) if size <= most else b"no header: from git-lfs?")
    except (ValueError, OSError) as error:
        raise Damaged(file, str(error)) from error
    header.pop("__metadata__", None)
    return header
