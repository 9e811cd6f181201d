import logging
import os

import pytest

from deployments.app import build
from deployments.environment import REQUIRED, exports, missing

ARGS = {"engine": {"kind": "fake"}}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REQUIRED:
        monkeypatch.delenv(name, raising=False)


def test_a_value_of_the_users_own_is_left_alone() -> None:
    assert "RAY_worker_niceness" not in missing({"RAY_worker_niceness": "5"})
    assert missing(REQUIRED) == {}


@pytest.mark.usefixtures("bare")
def test_an_application_built_without_them_says_once_what_to_export(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "deployments.app"):
        build(ARGS)
    (record,) = caplog.records
    assert exports(REQUIRED) in record.getMessage()
    assert "RAY_worker_niceness=0" in record.getMessage()


@pytest.mark.usefixtures("bare")
def test_an_application_built_with_them_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in REQUIRED.items():
        monkeypatch.setitem(os.environ, name, value)
    with caplog.at_level(logging.WARNING, "deployments.app"):
        build(ARGS)
    assert not caplog.records
