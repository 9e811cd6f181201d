from typing import Any

from benchmarks.serving.headline import headline


def against(**ratios: float) -> dict[str, Any]:
    """Arm -> the default's ratios to it."""
    bounds = {name: {"ratio": r, "low": r - 0.1, "high": r + 0.1} for name, r in ratios.items()}
    return {name: {"goodput": figure, "attainment": figure} for name, figure in bounds.items()}


def test_the_default_is_held_against_the_hardest_of_each_kind() -> None:
    row = against(stock_off=1.3, stock_k3=1.02, stock_schedule=0.99, off=1.2, fixed_1=1.01, fixed_5=1.4, nightjar=0.98)
    assert headline({"day": row}).splitlines()[-1] == (
        "| day | 0.99 [0.89, 1.09] stock_schedule | 1.01 [0.91, 1.11] fixed_1 | 1.30 [1.20, 1.40] stock_off "
        "| 0.98 [0.88, 1.08] nightjar |"
    )


def test_a_kind_without_arms_is_left_open() -> None:
    assert headline({"low": against(stock_off=1.0), "high": {}}).splitlines()[-1] == (
        "| low | 1.00 [0.90, 1.10] stock_off | - | 1.00 [0.90, 1.10] stock_off | 1.00 [0.90, 1.10] stock_off |"
    )


def test_nothing_to_compare_says_nothing() -> None:
    assert headline({"low": {}}) == ""
