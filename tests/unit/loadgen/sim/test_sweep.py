from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadgen.__main__ import main
from loadgen.sim import sweep
from policies.estimators.cost import LinearCoefficients

PROFILE = {
    "coefficients": LinearCoefficients(target_gamma_s=2.3e-4, target_delta_s=5e-3, request_s=1e-4).model_dump(),
    "acceptance": [0.8] * 5,
}


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sweep, "BATCHES", (1, 8, 96))
    monkeypatch.setattr(sweep, "OUTPUT_TOKENS", 64)
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(PROFILE))
    return path


def rows(profile: Path, **options: Any) -> list[dict[str, Any]]:
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    assert main(["sweep", "--profile", str(profile), "--out", str(profile.parent / "out"), *given]) == 0
    found: list[dict[str, Any]] = json.loads((profile.parent / "out" / "sweep.json").read_text())
    return found


def test_the_chosen_length_shortens_as_the_batch_grows(profile: Path) -> None:
    lengths = [row["mean_k"] for row in rows(profile)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1] + 1
    assert "<svg" in (profile.parent / "out" / "sweep.html").read_text()


def test_a_fixed_length_stays(profile: Path) -> None:
    assert {round(row["mean_k"]) for row in rows(profile, policy="fixed")} == {3}


def test_a_draft_that_is_never_right_is_left_alone(profile: Path) -> None:
    assert max(row["mean_k"] for row in rows(profile, acceptance=0.05)) < 1


def test_a_file_that_is_no_profile_is_refused(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile.write_text("{")
    assert main(["sweep", "--profile", str(profile), "--out", str(profile.parent / "out")]) == 2
    assert "profile.json" in capsys.readouterr().err
