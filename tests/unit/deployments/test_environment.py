import logging
import os
import subprocess
import sys

import pytest
from annotated_types import Le

from deployments.app import build
from deployments.environment import REQUIRED, exports, missing
from deployments.settings import IngressConfig

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


def test_any_body_the_config_allows_fits_into_a_message() -> None:
    """Written anew it may have grown by half: a list of short numbers gets a blank after each."""
    (most,) = [m.le for m in IngressConfig.model_fields["max_body_bytes"].metadata if isinstance(m, Le)]
    assert isinstance(most, int)
    assert int(REQUIRED["RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"]) > 1.5 * most
