import pytest

from deployments.live import Live
from deployments.settings import IngressConfig


@pytest.mark.parametrize("bad", [{"attempts": 0}, {"attemps": 2}, {"attempts": "two"}, "attempts"])
def test_a_refused_config_leaves_the_last_good_one(bad: dict[str, object]) -> None:
    live = Live(IngressConfig())
    live.update({"attempts": 7})
    live.update(bad)
    assert live.now.attempts == 7
    assert live.rejection is not None
    assert (live.applied, live.rejected) == (1, 1)


def test_a_good_config_clears_the_rejection() -> None:
    live = Live(IngressConfig())
    live.update({"attempts": 0})
    live.update({"attempts": 2})
    assert live.rejection is None
    assert live.now.attempts == 2


def test_no_config_at_all_means_the_defaults() -> None:
    live = Live(IngressConfig(attempts=9))
    live.update(None)
    assert live.now == IngressConfig()
