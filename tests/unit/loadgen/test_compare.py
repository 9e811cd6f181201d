import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen import compare, results
from loadgen.outcome import Outcome
from loadgen.scenario import Scenario
from loadgen.schedule import build
from loadgen.sim.rng import generator
from tests.unit.loadgen.scenarios import outcome, scenario

SPEC = scenario(duration_s=40, arrivals={"kind": "poisson", "rps": 6})


def write(folder: Path, slower: float = 1.0, seed: int = 0, spec: Scenario = SPEC) -> Path:
    plan = build(spec)
    noise = generator(seed, "noise").lognormal(0, 0.2, len(plan.requests))
    rows: list[Outcome] = [
        outcome(r.id, r.at_s, 0.05 * slower * n, 0.01 * slower * n, slo_class=r.slo_class)
        for r, n in zip(plan.requests, noise, strict=True)
    ]
    results.record(folder, plan, rows, [])
    return folder


def verdicts(*argv: object) -> tuple[int, dict[str, str]]:
    parser = ArgumentParser()
    compare.add_arguments(parser)
    args = parser.parse_args([str(a) for a in argv])
    status = compare.run(args)
    if not args.json or not args.json.exists():
        return status, {}
    (found,) = json.loads(args.json.read_text()).values()
    return status, {v["metric"]: v["verdict"] for v in found}


@pytest.mark.parametrize(("slower", "word", "status"), [(1.5, "worse", 1), (0.6, "better", 0), (1.0, "same", 0)])
def test_a_verdict_a_metric_and_an_exit_status(tmp_path: Path, slower: float, word: str, status: int) -> None:
    a, b = write(tmp_path / "a"), write(tmp_path / "b", slower)
    code, found = verdicts(a, b, "--json", tmp_path / "v.json")
    assert code == status
    assert {found[m] for m in ("TTFT p50", "TPOT p50", "E2E p90")} == {word}
    assert set(found) == set(compare.METRICS)


def test_noise_alone_is_not_a_verdict(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", seed=1), write(tmp_path / "b", seed=2)
    code, found = verdicts(a, b, "--margin", 0.001, "--json", tmp_path / "v.json")
    assert code == 0
    assert "worse" not in found.values()


def test_rounds_are_paired(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / "a" / str(i), seed=i)
        write(tmp_path / "b" / str(i), 1.4, seed=i)
    assert verdicts(tmp_path / "a", tmp_path / "b", "--json", tmp_path / "v.json")[0] == 1
    write(tmp_path / "b" / "3")
    assert verdicts(tmp_path / "a", tmp_path / "b")[0] == compare.REFUSED


def test_other_requests_and_invalid_runs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write(tmp_path / "a"), write(tmp_path / "b", spec=scenario())
    assert verdicts(a, b)[0] == compare.REFUSED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("are of different requests: use the same scenario and seed (arrival times differ)")
    result = json.loads((a / "result.json").read_text())
    (a / "result.json").write_text(json.dumps(result | {"valid": False, "check": {"problems": ["lag"]}}))
    assert verdicts(a, a)[0] == compare.REFUSED


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"output": {"mean_tokens": 50}}, "output"),
        ({"prompts": {"tokens": {"mean_tokens": 9}}}, "prompts"),
        ({"classes": [{"name": "fast", "ttft_ms": 9e9}, {"name": "slow"}]}, "classes"),
        ({"api": "chat", "temperature": 0.5}, "api, temperature"),
        ({"arrivals": {"kind": "closed", "clients": 2, "requests": 20}}, "arrivals"),
    ],
)
def test_what_differs_is_named_though_the_times_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], named: str
) -> None:
    a, b = write(tmp_path / "a", spec=scenario()), write(tmp_path / "b", spec=scenario(**changes))
    for pair in ((a, b), (b, a)):
        assert verdicts(*pair)[0] == compare.REFUSED
        assert capsys.readouterr().err.strip().endswith(f"({named} differ)")


def test_how_objectives_are_sent_may_differ(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", spec=scenario(slo="budgets")), write(tmp_path / "b", spec=scenario(slo="vllm_xargs"))
    assert verdicts(a, b)[0] == 0


def test_a_closed_loop_that_takes_twice_as_long_has_half_the_goodput(tmp_path: Path) -> None:
    goodput = closed(tmp_path, 1.0, 2.0, spread=0.0)
    assert goodput.ratio == pytest.approx(0.5)
    assert goodput.baseline == pytest.approx(5 * 2)  # two clients, five tokens a second each
    assert goodput.verdict == "worse"


def test_noise_of_a_closed_loop_is_in_the_interval_of_its_goodput(tmp_path: Path) -> None:
    """Two sides alike but for chance: one wall time a side would have no spread at all."""
    found = [closed(tmp_path / str(i), 1.0, 1.0, spread=0.4, seed=i) for i in range(20)]
    assert all(v.high - v.low > 0.05 for v in found)
    assert sum(v.verdict in {"better", "worse"} for v in found) <= 3


def closed(folder: Path, left_s: float, right_s: float, spread: float, seed: int = 0) -> compare.Verdict:
    """Goodput of two clients' 80 requests that stay so long, log-normally spread."""
    spec = scenario(arrivals={"kind": "closed", "clients": 2, "requests": 80}, classes=[{"name": "fast"}])
    for name, mean_s in (("a", left_s), ("b", right_s)):
        stays = mean_s * generator(seed, name).lognormal(0, spread, 80) if spread else np.full(80, mean_s)
        ends = [np.cumsum(stays[client::2]) for client in (0, 1)]
        at = [float(ends[i % 2][i // 2] - stays[i]) for i in range(80)]
        rows = [outcome(i, at[i], float(stays[i]) / 2, float(stays[i]) / 8) for i in range(80)]
        results.record(folder / name, build(spec), rows, [])
    return next(v for v in compare.compare(folder / "a", folder / "b", 0.02, 5, 0) if v.metric == "goodput")


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any), st.integers(0, 50), st.sampled_from([0.5, 0.9]))
def test_weighted_quantiles_are_those_of_the_repeated_rows(drawn: list[int], seed: int, q: float) -> None:
    rng = generator(seed, "rows")
    values, block = rng.random(30), np.repeat(np.arange(3), 10)
    values[::10] = np.nan
    repeated = np.concatenate([np.tile(values[block == b], n) for b, n in enumerate(drawn)])
    expected = np.nanquantile(repeated, q, method="inverted_cdf")
    assert compare._quantile(values, block, q)(np.array(drawn)) == pytest.approx(expected)
