"""What the analyzer refuses before it starts an engine; it needs vLLM's classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.profile.__main__ import main


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ({"kind": "fake"}, "only a vLLM engine with a draft"),
        ({"kind": "vllm", "model": "m"}, "only a vLLM engine with a draft"),
        ({"kind": "vllm", "model": "./none", "draft": "./none"}, "no such directory"),
        ({"kind": "vllm", "model": "m", "k_max": 99}, "k_max"),
    ],
)
def test_a_config_with_nothing_to_calibrate_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: dict[str, Any], message: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"applications": [{"args": {"engine": engine}}]}))
    assert main(["--config", str(config), "--out", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text", [None, "a: [1", "[]"])
def test_a_config_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None) -> None:
    file = tmp_path / "none.yaml"
    if text is not None:
        file.write_text(text)
    assert main(["--config", str(file)]) == 1
    assert "none.yaml" in capsys.readouterr().err
