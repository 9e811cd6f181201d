import json
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        ("model.safetensors", b""),
        ("tokenizer.json", b'{"model": {"voc'),
        ("config.json", b"[]"),
        ("config.json", b"\xff\xfe"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, file: str, content: bytes) -> None:
    """A clone without git-lfs, a download that was cut off."""
    target, draft = model(tmp_path / "t"), model(tmp_path / "d")
    (tmp_path / "d" / file).write_bytes(content)
    (line,) = problems(target, draft)
    assert str(tmp_path / "d" / file) in line
    assert "not readable" in line


def refused(tmp_path: Path, **engine: Any) -> list[str]:
    """What is wrong with a pair whose target takes 64 tokens and whose draft takes 32."""
    given: dict[str, Any] = {"kind": "vllm", "kv_cache_gib": 0.1, "max_model_len": 32}
    for name, length in (("model", 64), ("draft", 32)):
        given[name] = model(tmp_path / name)
        (tmp_path / name / "config.json").write_text(json.dumps({"vocab_size": 8, "max_position_embeddings": length}))
    return [str(p) for p in preflight.problems(VllmEngine.model_validate(given | engine))]


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"max_model_len": 65}, "the model takes 64 at most"),
        ({"max_model_len": 64}, "the draft takes 32 at most"),
        ({"max_model_len": None}, "the draft takes 32 at most"),
        ({"tensor_parallel_size": 2}, "tensor_parallel_size: 2 refused"),
        ({"chat_template": "nowhere.jinja"}, "chat_template: 'nowhere.jinja' refused: no such file"),
        ({"draft": None, "safe_policy": {"name": "fixed"}}, "safe_policy.name: 'fixed' refused: needs a draft model"),
    ],
)
def test_what_no_engine_starts_with_is_refused_before_it_is_tried(
    tmp_path: Path, engine: dict[str, Any], said: str
) -> None:
    assert said in "; ".join(refused(tmp_path, **engine))


@pytest.mark.parametrize(
    "engine",
    [
        {},
        {"chat_template": "{{ messages }}"},
        {"chat_template": "messages\n"},
        {"chat_template": "template_chatml.jinja"},
        {"draft": None, "max_model_len": 64},
        {"max_model_len": 65, "env": {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}},
        {"max_model_len": 65, "vllm_args": {"hf_overrides": {"max_position_embeddings": 128}}},
    ],
)
def test_what_an_engine_starts_with_is_not(tmp_path: Path, engine: dict[str, Any]) -> None:
    assert refused(tmp_path, **engine) == []


@pytest.mark.parametrize(
    "more",
    [
        {"model_max_length": 131072},
        {"rope_scaling": {"factor": 8.0}},
        {"rope_parameters": {"full_attention": {"factor": 8.0}}},
        {"text_config": None, "max_position_embeddings": 128},
    ],
)
def test_a_context_that_is_stretched_is_vllms_to_judge(tmp_path: Path, more: dict[str, Any]) -> None:
    target = model(tmp_path / "t")
    config = {"vocab_size": 8, "max_position_embeddings": 64} | more
    (tmp_path / "t" / "config.json").write_text(json.dumps(config))
    given = {"kind": "vllm", "model": target, "kv_cache_gib": 0.1, "max_model_len": 128}
    assert preflight.problems(VllmEngine.model_validate(given)) == []
