import json
from pathlib import Path

import pytest

from deployments import preflight
from deployments.settings import VllmEngine


def model(folder: Path, *, vocab: int = 8, words: dict[str, int] | None = None, parameters: int = 1000) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"vocab_size": vocab}))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": words or {"a": 0}}}))
    header = json.dumps({"__metadata__": {}, "w": {"dtype": "BF16", "shape": [parameters, 1]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return str(folder)


def problems(target: str, draft: str | None = None, *, dtype: str = "auto", kv_cache_gib: float = 0.1) -> list[str]:
    given = {"kind": "vllm", "model": target, "draft": draft, "dtype": dtype, "kv_cache_gib": kv_cache_gib}
    return [str(p) for p in preflight.problems(VllmEngine.model_validate(given))]


def test_a_matching_pair_passes(tmp_path: Path) -> None:
    assert problems(model(tmp_path / "t"), model(tmp_path / "d")) == []


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    (line,) = problems(str(tmp_path / "nowhere"))
    assert "args.engine.model" in line
    assert "no such directory" in line


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, file: str) -> None:
    target, draft = model(tmp_path / "t"), model(tmp_path / "d")
    (tmp_path / "d" / file).unlink()
    (line,) = problems(target, draft)
    assert line.startswith("args.engine.draft: ")
    assert "the directory has no" in line


def test_vocabularies_of_different_size_are_refused(tmp_path: Path) -> None:
    (line,) = problems(model(tmp_path / "t", vocab=9), model(tmp_path / "d", vocab=8))
    assert "its vocabulary has 8 tokens and the target's 9" in line


def test_vocabularies_of_the_same_size_with_other_words_are_refused(tmp_path: Path) -> None:
    (line,) = problems(model(tmp_path / "t", words={"a": 0}), model(tmp_path / "d", words={"b": 0}))
    assert "same ids to other words" in line


def test_a_hub_id_that_is_not_here_is_refused_offline_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (line,) = problems("nobody/no-such-model")
    assert "HF_HUB_OFFLINE" in line
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert problems("nobody/no-such-model") == []


@pytest.mark.parametrize(("dtype", "fits"), [("float32", False), ("auto", True)])
def test_too_little_memory_is_seen_from_the_files_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, fits: bool
) -> None:
    monkeypatch.setattr(preflight, "total_gib", lambda: 8.0)
    found = problems(model(tmp_path / "t", parameters=2 << 30), dtype=dtype)  # 4 GiB as stored, 8 as float32
    assert (found == []) == fits
    need = "needs about 11.1 GiB (8.0 weights, 0.1 KV cache, 3.0 processes) and 8.0 GiB are all there is"
    assert fits or need in found[0]


def test_memory_that_others_hold_matters_to_a_start_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "total_gib", lambda: 8.0)
    monkeypatch.setattr(preflight, "available_gib", lambda: 1.0)
    target = model(tmp_path / "t")
    assert problems(target) == []
    with pytest.raises(ValueError, match=r"1\.0 GiB are free; end what holds memory"):
        preflight.require_loadable(VllmEngine.model_validate({"kind": "vllm", "model": target}))
