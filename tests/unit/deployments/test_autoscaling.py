from types import SimpleNamespace
from typing import Any

from deployments.autoscaling import DESIRED, follow


def point(at_s: float, value: float) -> Any:
    return SimpleNamespace(timestamp=at_s, value=value)


def context(**series: list[Any]) -> Any:
    return SimpleNamespace(raw_metrics={DESIRED: series} if series else {}, target_num_replicas=2)


def test_the_newest_decision_counts() -> None:
    assert follow(context(a=[point(1, 4), point(3, 3)], b=[point(2, 4)])) == (3, {})


def test_until_one_is_heard_nothing_changes() -> None:
    assert follow(context()) == (2, {})
    assert follow(context(a=[])) == (2, {})


def test_never_none_at_all() -> None:
    assert follow(context(a=[point(1, 0)])) == (1, {})


def test_a_service_scaled_to_none_is_not_left_there() -> None:
    """The door refuses at once without a replica, so nothing would ever say that one is wanted."""
    assert follow(SimpleNamespace(raw_metrics={}, target_num_replicas=0)) == (1, {})
