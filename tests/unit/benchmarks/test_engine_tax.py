import pytest

from benchmarks.engine_table import title
from benchmarks.engine_tax import pays_arms


@pytest.mark.parametrize(("sampled", "engine"), [(False, "stock_k3"), (True, "ours")])
def test_static_k_of_sampled_text_are_our_engines(sampled: bool, engine: str) -> None:
    arms, pairs = pays_arms(["adaspec", "slo_goodput"], sampled=sampled)
    by_name = {arm.name: arm for arm in arms}
    (static,) = (name for name in by_name if name.endswith("3"))
    assert by_name[static].engine == engine
    assert (by_name[static].policy is not None) is sampled
    assert by_name["stock"].engine == "stock"
    assert len(pairs) == 2 * 4
    assert ("slo_goodput", static) in pairs
    assert {name for pair in pairs for name in pair} == set(by_name)


def test_a_sampled_comparison_has_a_page_section_of_its_own() -> None:
    assert [title("pays_30m"), title("pays_30m_t0.4")] == ["pays, 30m", "pays, 30m, temperature 0.4"]
