"""One replica, more, one: Serve follows the monitor, and no stream is lost on the way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.cluster.service import Service, config, eventually
from tests.cluster.streams import PATH, body

SCALING = {"max_replicas": 4, "down_after_s": 1, "target_load": 1.0, "down_load": 1.0}


def test_it_grows_under_load_and_shrinks_by_draining(service: Service, gate: Path) -> None:
    made = config(engine={"max_num_seqs": 2})
    deployments = made["applications"][0]["deployments"]
    monitor, replica = deployments[1], deployments[2]
    monitor["user_config"] = {"start_s": 1, "scaling": SCALING}
    replica |= {"graceful_shutdown_timeout_s": 30}
    del replica["num_replicas"]
    replica["autoscaling_config"] = {
        "min_replicas": 1,
        "max_replicas": 4,
        "upscale_delay_s": 0,
        "downscale_delay_s": 0,
        "metrics_interval_s": 0.5,
        "look_back_period_s": 2,
        "policy": {"policy_function": "deployments.autoscaling:follow"},
    }
    service.deploy(made)
    service.ready(1)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(service.http.post, PATH, json=body(4, gate=gate), timeout=200) for _ in range(8)]
        eventually(lambda: len(service.replicas()) == 4, 90)
        eventually(lambda: service.total("fake_held") == 8, 30)
        gate.touch()
        texts = [answer.result(60).text for answer in answers]
    assert all(text.endswith("data: [DONE]\n\n") for text in texts)
    eventually(lambda: service.http.get("/v1/slo").json()["desired_replicas"] == 1, 60)
    eventually(lambda: len(service.replicas()) == 1, 60)
    assert service.http.post(PATH, json=body(1, stream=False)).status_code == 200
