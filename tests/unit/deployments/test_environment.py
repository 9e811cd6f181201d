import logging
import os
import subprocess
import sys

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
    assert all(name in record.getMessage() for name in REQUIRED)
    assert "python -m deployments.environment" in record.getMessage()


@pytest.mark.usefixtures("bare")
def test_the_command_prints_what_the_shell_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_worker_niceness", "5")
    lacking = dict(REQUIRED)
    del lacking["RAY_worker_niceness"]
    printed = subprocess.run(
        [sys.executable, "-m", "deployments.environment"], check=True, capture_output=True, text=True
    )
    assert printed.stdout == f"{exports(lacking)}\n"


@pytest.mark.usefixtures("bare")
def test_an_application_built_with_them_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in REQUIRED.items():
        monkeypatch.setitem(os.environ, name, value)
    with caplog.at_level(logging.WARNING, "deployments.app"):
        build(ARGS)
    assert not caplog.records
