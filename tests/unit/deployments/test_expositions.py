import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from deployments.expositions import join

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def exposition(label: str, amount: float) -> str:
    registry = CollectorRegistry()
    Counter("vllm:tokens", "Tokens.", ["model_name"], registry=registry).labels(label).inc(amount)
    Gauge("running", "No labels.", registry=registry).set(amount)
    Histogram("ttft_seconds", "Spread.", ["m"], buckets=[0.1, 1], registry=registry).labels(label).observe(amount)
    return generate_latest(registry).decode()


def parsed(text: str) -> Samples:
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


@given(label=st.text(), amounts=st.lists(st.floats(0, 1e6), min_size=1, max_size=3))
def test_joining_changes_nothing_but_adds_the_label(label: str, amounts: list[float]) -> None:
    texts = {f"r{i}": exposition(label, amount) for i, amount in enumerate(amounts)}
    expected = {
        (name, tuple(sorted((*labels, ("replica", replica))))): value
        for replica, text in texts.items()
        for (name, labels), value in parsed(text).items()
    }
    assert parsed(join(texts)) == expected


def test_a_family_is_declared_once_and_stays_together() -> None:
    lines = join({"a": exposition("m", 1), "b": exposition("m", 2)}).splitlines()
    assert lines.count("# TYPE running gauge") == 1
    at = lines.index("# TYPE running gauge")
    assert lines[at + 1 : at + 3] == ['running{replica="a"} 1.0', 'running{replica="b"} 2.0']


def test_what_is_no_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="not a Prometheus sample"):
        join({"a": "{} 1"})
