import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving.__main__ import Job, engines, jobs, main, parse
from benchmarks.serving.arms import ARMS, TUNED, command, engine
from benchmarks.serving.loads import LOADS, Calibration
from benchmarks.serving.tune import table
from loadgen.schedule import build

BASE = Calibration(30.0, 50.0, 90.0, 2.0)


def asked(*argv: str) -> Namespace:
    return parse(["--arms", "stock_off", "off", "adaspec", *argv])


def test_every_arm_of_a_round_meets_the_same_requests_in_rotated_order() -> None:
    found = list(jobs(asked("--rounds", "3", "--loads", "low", "day"), BASE, Path("out")))
    assert len(found) == 18
    firsts = [job.arm.name for job in found[::3]]
    assert set(firsts) == {"stock_off", "off", "adaspec"}
    for i in range(0, 18, 3):
        assert len({job.scenario.model_dump_json() for job in found[i : i + 3]}) == 1
    assert len({job.scenario.seed for job in found}) == 3
    assert len({job.out for job in found}) == 18


def test_recorded_sequences_come_at_the_mean_rate_of_the_middle_load(tmp_path: Path) -> None:
    rows = "".join(f"{0.1 * i:.1f}\n" for i in range(6000))
    for name in ("adaspec_code", "AzureLLMInferenceTrace_conv"):
        (tmp_path / f"{name}.csv").write_text(f"Timestamp (s)\n{rows}")
    argv = ["--arms", "off", "--rounds", "1", "--window-s", "300", "--loads", "--traces", str(tmp_path)]
    (job,) = jobs(parse(argv), BASE, Path("out"))
    assert (job.out, job.scenario.duration_s) == (Path("out/adaspec_code/off/0"), 300)
    assert len(build(job.scenario).requests) == pytest.approx(0.5 * BASE.high_rps * 300, rel=0.15)


def test_a_finished_run_is_not_run_again_unless_invalid_or_disturbed(tmp_path: Path) -> None:
    job = Job(ARMS[0], BASE.scenario("low", 45, 0), tmp_path)
    assert not job.done
    (tmp_path / "engine.json").write_text(json.dumps({"foreign_share": 0.01}))
    (tmp_path / "result.json").write_text(json.dumps({"valid": False}))
    assert not job.done
    (tmp_path / "result.json").write_text(json.dumps({"valid": True}))
    assert job.done
    (tmp_path / "pace.json").write_text(json.dumps({"slowness": [1.0, 1.05]}))
    assert job.done
    (tmp_path / "pace.json").write_text(json.dumps({"slowness": [1.0, 1.3]}))
    assert not job.done
    (tmp_path / "pace.json").unlink()
    (tmp_path / "engine.json").write_text(json.dumps({"foreign_share": 0.5}))
    assert not job.done


def test_only_engines_with_a_run_to_make_are_started(tmp_path: Path) -> None:
    args = asked("--rounds", "1", "--loads", "low", "day")
    assert engines(args, None, tmp_path) == ["stock_off", "ours"]
    for job in jobs(args, BASE, tmp_path):
        job.out.mkdir(parents=True)
        (job.out / "engine.json").write_text(json.dumps({"foreign_share": 0.01}))
        (job.out / "result.json").write_text(json.dumps({"valid": job.arm.name != "off"}))
    assert engines(args, BASE, tmp_path) == ["ours"]
    assert engines(asked("--rounds", "1", "--loads", "low", "--arms", "stock_off"), BASE, tmp_path) == []


def test_rates_of_another_machine_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    then = {"cpu": "another", "cores": 2, "system": "Linux"}
    (tmp_path / "30m").mkdir()
    (tmp_path / "30m" / "calibration.json").write_text(
        json.dumps({"figures": BASE.to_json(), "provenance": {"machine": then}})
    )
    assert main(["--size", "30m", "--arms", "off", "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "calibration.json was measured on {'cpu': 'another'" in line
    assert line.endswith("name a folder with --out")


def test_a_finished_benchmarks_page_is_written_again_anywhere(finished_runs: Path) -> None:
    out = finished_runs / "30m"
    out.mkdir()
    (finished_runs / "low").rename(out / "low")
    then = {"cpu": "another", "cores": 2, "system": "Linux"}
    (out / "calibration.json").write_text(json.dumps({"figures": BASE.to_json(), "provenance": {"machine": then}}))
    argv = ["--size", "30m", "--loads", "low", "--rounds", "1", "--arms", "stock_off", "slo_goodput"]
    assert main([*argv, "--out", str(finished_runs)]) == 0
    assert "| low | slo_goodput |" in (out / "README.md").read_text()


@pytest.mark.parametrize("load", LOADS)
def test_loads_are_plans(load: str) -> None:
    plan = build(BASE.scenario(load, 45, 0))
    assert len(plan.requests) > 3
    assert {c.name for c in plan.scenario.classes} == {"urgent", "interactive", "patient"}


def test_higher_loads_have_more_requests() -> None:
    counts = [len(build(BASE.scenario(load, 300, 0)).requests) for load in ("low", "middle", "high")]
    assert counts == sorted(counts)
    assert counts[-1] == pytest.approx(0.85 * 2.0 * 300, rel=0.15)


def test_the_tuned_table_takes_the_best_length_of_each_batch() -> None:
    rates = {"stock_off": {1: 30.0, 4: 80.0, 16: 160.0}, "stock_k3": {1: 50.0, 4: 90.0, 16: 130.0}}
    assert table(rates) == [[1, 8, 3], [9, 32, 0]]


def value(words: list[str], flag: str) -> Any:
    return words[words.index(flag) + 1]


def test_engines_differ_only_in_speculation() -> None:
    schedule = [[1, 8, 3], [9, 32, 0]]
    commands = {a.engine: command(engine(a.engine, schedule), "30m", 1) for a in ARMS}
    plain = commands["stock_off"]
    assert "--speculative-config" not in plain
    assert json.loads(value(commands["stock_k3"], "--speculative-config"))["num_speculative_tokens"] == 3
    tuned = json.loads(value(commands[TUNED], "--speculative-config"))
    assert (tuned["num_speculative_tokens"], tuned["num_speculative_tokens_per_batch_size"]) == (3, schedule)
    assert value(commands["ours"], "--worker-cls").endswith("AdaptiveWorker")
    for words in commands.values():
        assert set(plain) <= set(words)
