"""A few requests made from the schema for each route; `make faults` sends hundreds."""

from collections.abc import Iterator

import pytest

from tests.faults.schema import GENERATE, PLAIN, Service, application, run


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with application() as found:
        yield found


@pytest.mark.parametrize("path", [*GENERATE, *PLAIN])
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # other threads use it, not the strategies
def test_no_request_is_lost_and_the_engine_lives(service: Service, path: str) -> None:
    tried = run(service, path, 10)
    assert tried.lost == []
    assert path not in GENERATE or tried.statuses[200] > 0
