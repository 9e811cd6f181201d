import json
from pathlib import Path

import pytest
import yaml

from loadgen.__main__ import main
from tests.unit.loadgen.sim.scenarios import scenario


def test_it_writes_numbers_provenance_and_one_page(tmp_path: Path) -> None:
    path, out = tmp_path / "scenario.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(scenario().model_dump(mode="json")))
    assert main(["sim", str(path), "--out", str(out), "--policy", "fixed", "--seed", "5"]) == 0
    numbers = json.loads((out / "result.json").read_text())
    assert numbers["scenario"]["seed"] == 5
    assert 0 <= numbers["total"]["attainment"] <= 1
    assert set(numbers["classes"]) == {"fast", "slow"}
    assert numbers["speculation"]["mean_k"] > 2
    assert json.loads((out / "provenance.json").read_text())["seed"] == 5
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 1
    assert "<script" not in page


def test_a_bad_scenario_is_refused_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(scenario().model_dump(mode="json") | {"cost": "abacus"}))
    assert main(["sim", str(path), "--out", str(tmp_path)]) == 2
    assert "abacus" in capsys.readouterr().err
