import json

import pytest
from ray.exceptions import ActorDiedError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, RayServeException

from deployments.dispatch import as_api_error
from deployments.errors import ApiError, NoReplicaError
from deployments.settings import IngressConfig

CONFIG = IngressConfig(retry_after_s=3)


def test_an_error_has_openais_shape_and_its_own_status() -> None:
    response = ApiError(429, "later", param="n", retry_after_s=2).response()
    error = json.loads(bytes(response.body))["error"]
    assert error == {"message": "later", "type": "RateLimitError", "param": "n", "code": 429}
    assert (response.status_code, response.headers["retry-after"]) == (429, "2")


def test_an_error_inside_a_stream_is_one_event() -> None:
    event = ApiError(500, "lost").event().decode()
    assert event.endswith("\n\n")
    assert json.loads(event.removeprefix("data: "))["error"]["code"] == 500


@pytest.mark.parametrize(
    ("error", "status", "retry_after_s"),
    [
        (BackPressureError(5, 4, 429, 1.2), 429, 2),
        (BackPressureError(5, 4, 503, None), 503, 3),
        (NoReplicaError("none"), 503, 3),
        (TimeoutError(), 503, 3),
        (RayServeException("?"), 500, None),
        (ActorDiedError(), 500, None),
        (TaskCancelledError(), 500, None),
    ],
)
def test_what_serve_raises_becomes_a_status_a_client_can_act_on(
    error: Exception, status: int, retry_after_s: int | None
) -> None:
    found = as_api_error(error, CONFIG)
    assert (found.status, found.retry_after_s) == (status, retry_after_s)
