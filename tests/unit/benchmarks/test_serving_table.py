import json
from pathlib import Path

from benchmarks.serving import table

ORIGIN = {"config": {"size": "270m", "window_s": 20}}


def test_the_page_says_what_it_was_run_on(finished_runs: Path) -> None:
    table.write(finished_runs, ORIGIN)
    page = (finished_runs / "README.md").read_text()
    assert "grown 270m target" in page
    assert page.count("\n| low |") == 6  # two arms, in two tables, the one of ours in a third, and the headline
    assert "| load | arm | K = " in page
    assert "| low | slo_goodput | 100 %, 30 |" in page
    picture = (finished_runs / "goodput.svg").read_text()
    assert "<svg" in picture
    titles = [line for line in page.splitlines() if "to every other arm's" in line]
    assert [title.split(" of ")[0] for title in titles] == ["## Goodput", "## Attainment", "## TPOT p90", "## TTFT p90"]
    assert page.count("| arm | low |\n|---|---|\n| stock_off | ") == len(titles)
    table.write(finished_runs, ORIGIN)
    assert (finished_runs / "goodput.svg").read_text() == picture
    summary = json.loads((finished_runs / "summary.json").read_text())
    assert set(summary) == {"figures", "ratios_to_stock_off", "ratios_of_slo_goodput"}
