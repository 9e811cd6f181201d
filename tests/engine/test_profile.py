"""The analyzer on the 30M pair with a very small design, and a replica's engine that takes or refuses its profile."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.profile.__main__ import main
from deployments.profile.identity import key_of
from deployments.profile.profile import ProfileRefused, load
from deployments.settings import VllmEngine
from deployments.vllm_backend import VllmBackend

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
ENGINE: dict[str, Any] = {
    "kind": "vllm",
    "model": str(ROOT / ".models/target-30m"),
    "draft": str(ROOT / "models/draft"),
    "dtype": "float32",
    "k_max": 2,
    "max_model_len": 320,
    "max_num_seqs": 4,
    "kv_cache_gib": 0.25,
    "calibrate_s": 2,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a profile."""
    folder = tmp_path_factory.mktemp("profile")
    (folder / "config.yaml").write_text(yaml.safe_dump({"applications": [{"args": {"engine": ENGINE}}]}))
    texts = str(ROOT / "models/heldout.jsonl")
    command = ["--config", str(folder / "config.yaml"), "--texts", texts, "--out", str(folder), "--budget-s", "40"]
    assert main(command) == 0
    return folder


def test_every_shape_was_run_by_the_engine_and_explains_its_times(made: Path) -> None:
    report = json.loads((made / "report.json").read_text())
    shapes = {(p["batch"], p["k"]) for p in report["points"]}
    assert {(batch, k) for batch in (1, 2, 3, 4) for k in (0, 1, 2)} <= shapes
    assert any(p["prefill_tokens"] for p in report["points"])
    assert any(p["catch_up_tokens"] for p in report["points"])
    assert report["profile"]["held_out"]["batch 1-4"]["median_ape"] < 0.5  # the machine may be busy; results: docs
    assert "<svg" in (made / "report.html").read_text()


def test_confidence_comes_from_held_out_text_by_domain(made: Path) -> None:
    confidence = json.loads((made / "report.json").read_text())["confidence"]
    assert set(confidence["domains"]) == {"library", "prose", "third_party"}
    assert all(group["tokens"] > 20 and 0 < group["acceptance"] < 1 for group in confidence["domains"].values())


def test_its_own_engine_takes_it_and_another_does_not(made: Path) -> None:
    engine = VllmEngine.model_validate(ENGINE)
    assert load(made / "profile.json", key_of(engine)).coefficients.target_delta_s >= 0
    with pytest.raises(ProfileRefused, match=r"target was .* and is"):
        load(made / "profile.json", key_of(engine.model_copy(update={"model": str(ROOT / "models/target")})))


async def test_a_tampered_profile_is_one_error_and_the_built_in_calibration_takes_over(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tampered = tmp_path / "profile.json"
    tampered.write_text((made / "profile.json").read_text().replace('"target_gamma_s":', '"target_gamma_s": 1'))
    backend = VllmBackend(VllmEngine.model_validate({**ENGINE, "profile": str(tampered)}))
    with caplog.at_level(logging.ERROR, "deployments.vllm_backend"):
        await backend.start()
    try:
        report = await backend.exchange(None)
    finally:
        await backend.stop()
    (record,) = [r for r in caplog.records if r.name == "deployments.vllm_backend"]
    assert "make profile" in record.message
    assert report.fallbacks["profile_refused"] == 1
    assert report.policy == "off"
    assert report.k_steps[0] > 0
    assert report.k_steps[2] > 0
    assert report.policy_state["cost"]["measured_over_predicted"]["batch<=4"] != 1.0
    assert report.policy_state["acceptance"]["positions"]["rates"] == [0.7, 0.7], "made-up text taught nothing"
