from __future__ import annotations

from typing import Any

import pytest

from benchmarks.cells import Cell, cells
from benchmarks.scoreboard_table import _seeds, _spread, best_static, ratio

pytestmark = pytest.mark.unit


def result(*goodput: float) -> dict[str, Any]:
    return {str(seed): {"goodput": value} for seed, value in enumerate(goodput)}


def board() -> dict[Cell, dict[str, Any]]:
    first, second = cells()[:2]
    return {
        first: {"off": result(10, 20), "fixed_1": result(14, 14), "adaspec": result(20)},
        second: {"off": result(10, 10), "fixed_1": result(4, 4), "adaspec": result(5)},
    }


def test_the_heading_says_who_has_fewer_seeds() -> None:
    assert _seeds(board()) == "Seeds: 1 for adaspec; 2 for off, fixed_1."
    full = {cell: {name: r[name] for name in ("off", "fixed_1")} for cell, r in board().items()}
    assert _seeds(full) == "Every policy has 2 seeds in every cell."


def test_a_ratio_is_over_the_seeds_both_have() -> None:
    first, _ = board().values()
    assert ratio(first, "adaspec", "off") == 2.0
    assert (
        best_static({k: first.get(k, result(0, 0)) for k in ("off", *(f"fixed_{k}" for k in (1, 2, 3, 5, 7)))}) == "off"
    )


def test_a_claim_names_its_worst_and_best_cell() -> None:
    worst, best = cells()[1].name, cells()[0].name
    assert _spread(board(), "adaspec", "off", "goodput") == f"1.000 (0.50 {worst}, 2.00 {best})"
