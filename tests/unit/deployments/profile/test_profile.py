from __future__ import annotations

import json
from pathlib import Path

import pytest

from deployments.profile.profile import Key, Profile, ProfileRefused, load, read
from policies.estimators.cost import LinearCoefficients

KEY = Key(device="a CPU, 2 cores", target="t0", draft="d0", dtype="float32", tensor_parallel_size=1, vllm="0.32.0")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    made = Profile(
        key=KEY,
        made_at="2026-01-01T00:00:00+00:00",
        coefficients=LinearCoefficients(target_gamma_s=1.25e-4),
        acceptance=(0.8, 0.7),
        held_out={"all": {"median_ape": 0.05}},
    )
    made.save(path)
    return path


def test_round_trip(file: Path) -> None:
    found = load(file, KEY)
    assert (found.coefficients.target_gamma_s, found.acceptance) == (1.25e-4, (0.8, 0.7))
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("field", "value"),
    [("device", "a CPU, 4 cores"), ("target", "t1"), ("draft", "d1"), ("dtype", "bfloat16"), ("vllm", "0.33.0")],
)
def test_made_for_something_else(file: Path, field: str, value: str) -> None:
    with pytest.raises(ProfileRefused, match=rf"{field} was .* and is '{value}'; run `make profile` again"):
        load(file, KEY.model_copy(update={field: value}))


def test_every_difference_is_named_at_once(file: Path) -> None:
    with pytest.raises(ProfileRefused, match=r"tensor_parallel_size was 1 and is 2; vllm was"):
        load(file, KEY.model_copy(update={"tensor_parallel_size": 2, "vllm": "0"}))


@pytest.mark.parametrize("keep", [0, 1, 40, -3])
def test_truncated(file: Path, keep: int) -> None:
    file.write_text(file.read_text()[:keep])
    with pytest.raises(ProfileRefused, match=r"truncated or not a profile .*run `make profile` again"):
        load(file, KEY)


@pytest.mark.parametrize("text", ["[]", "null", '{"format": 2}'])
def test_something_else(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ProfileRefused, match="not a profile"):
        read(file)


def test_tampered(file: Path) -> None:
    content = json.loads(file.read_text())
    content["coefficients"]["target_gamma_s"] = 1e-9
    file.write_text(json.dumps(content))
    with pytest.raises(ProfileRefused, match="checksum does not match"):
        load(file, KEY)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(ProfileRefused, match="No such file"):
        load(tmp_path / "none.json", KEY)
