"""Objectives from the header to the policy's arrays, and what was achieved back to the client."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from deployments.ingress import Ingress
from deployments.settings import AppArgs
from tests.local.scraped import scraped

PATH = "/v1/completions"
BODY = {"prompt": "p", "max_tokens": 4}
CLASSES = [
    {"name": "tight", "ttft_ms": 60_000, "tpot_ms": 70, "priority": 3, "overload": "shed"},
    {"name": "default"},
]


@pytest.fixture
def args() -> AppArgs:
    """Two seats, decode steps under a policy that says what it was asked for."""
    policy = {"name": "tests.local.objectives:say"}
    engine = {"kind": "fake", "step_ms": 5, "max_num_seqs": 2, "safe_policy": policy}
    return AppArgs.model_validate({"engine": engine})


@pytest.fixture(autouse=True)
def classes(ingress: Ingress) -> None:
    ingress.reconfigure({"classes": CLASSES})


async def seen(http: httpx.AsyncClient, of: str, **counts: int) -> dict[str, Any]:
    """What /v1/slo says of a class once the monitor has heard these counts."""
    while True:
        found: dict[str, Any] = (await http.get("/v1/slo")).json()["classes"].get(of, {})
        if counts.items() <= found.items():
            return found
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [({"x-slo-class": "tight"}, "70 ms"), ({"x-slo-tpot-ms": "33"}, "33 ms"), ({}, "inf ms")],
)
async def test_the_objective_is_in_the_policys_arrays(
    http: httpx.AsyncClient, handles: tuple[Any, Any], headers: dict[str, str], reason: str
) -> None:
    assert (await http.post(PATH, json=BODY, headers=headers)).status_code == 200
    report = (await handles[0].status.remote()).report
    assert set(report.reasons) == {reason}


async def test_a_whole_answer_says_what_was_achieved(http: httpx.AsyncClient) -> None:
    answer = await http.post(PATH, json=BODY, headers={"x-slo-class": "tight", "x-slo-tpot-ms": "0.001"})
    told = answer.json()["usage"]["adaspec"]
    assert (told["slo_class"], told["ttft_slo_ms"], told["tpot_slo_ms"]) == ("tight", 60_000, 0.001)
    assert told["ttft_ms"] > 0
    assert told["tpot_ms"] >= 5
    assert told["attained"] is False
    assert told["drafted_tokens"] == 0


@pytest.mark.parametrize("usage", [True, False])
async def test_so_does_the_last_event_of_a_stream(http: httpx.AsyncClient, usage: bool) -> None:
    body = BODY | {"stream": True, "stream_options": {"include_usage": usage}}
    text = (await http.post(PATH, json=body, headers={"x-slo-class": "tight"})).text
    *events, last, done = [line[6:] for line in text.split("\n\n") if line]
    assert done == "[DONE]"
    told = json.loads(last)
    assert (told["usage"] if usage else told)["adaspec"]["attained"] is True
    assert len(events) == (4 if usage else 3)


async def test_a_bad_header_is_a_400_that_names_it(http: httpx.AsyncClient) -> None:
    answer = await http.post(PATH, json=BODY, headers={"x-slo-class": "gold"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "x-slo-class"
    assert "choose one of tight, default" in answer.json()["error"]["message"]


async def test_a_full_replica_sheds_one_class_and_holds_the_other(http: httpx.AsyncClient, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    kept = BODY | {"fake": {"hold_at": 0, "until": str(gate)}}
    running = [asyncio.create_task(http.post(PATH, json=kept)) for _ in range(2)]
    await seen(http, "default", running=2)
    waiting = asyncio.create_task(http.post(PATH, json=BODY))
    await seen(http, "default", waiting=1)
    shed = await http.post(PATH, json=BODY, headers={"x-slo-class": "tight", "x-slo-ttft-ms": "1"})
    assert shed.status_code == 429
    assert int(shed.headers["retry-after"]) >= 1
    gate.touch()
    assert (await waiting).json()["usage"]["adaspec"]["waited_ms"] > 1
    assert [(await task).status_code for task in running] == [200, 200]


async def test_v1_slo_shows_classes_and_what_became_of_them(http: httpx.AsyncClient) -> None:
    await http.post(PATH, json=BODY, headers={"x-slo-class": "tight"})
    tight = await seen(http, "tight", finished=1)
    assert (tight["arrived"], tight["admitted"], tight["attained"], tight["shed"]) == (1, 1, 1, 0)
    assert tight["tpot_ms"] == 70
    text = await scraped(http)
    assert 'adaspec_admissions_total{action="serve",reason="fits",slo_class="tight"} 1.0' in text
    assert "adaspec_desired_replicas 1.0" in text


async def test_admission_can_be_switched_off(http: httpx.AsyncClient, ingress: Ingress) -> None:
    ingress.reconfigure({"classes": CLASSES, "admission": False})
    assert (await http.post(PATH, json=BODY)).status_code == 200
    assert (await http.get("/v1/slo")).json()["admission"] is False


async def test_a_replica_that_serves_nobody_says_so(http: httpx.AsyncClient, handles: tuple[Any, Any]) -> None:
    """Its engine's last step had somebody in it, and the door would wait for ever for that seat."""
    assert (await http.post(PATH, json=BODY)).status_code == 200
    status = await handles[0].status.remote()
    assert (status.report.batch, status.report.waiting) == (0, 0)
    assert status.residence_s >= 5e-3  # of the one that was there, not a tenth of it


async def test_several_prompts_of_one_request_are_timed_as_one_sequence_each(http: httpx.AsyncClient) -> None:
    """Their tokens are counted together, their steps are not made together faster: at 5 ms a step none takes 2 ms."""
    body = {"prompt": ["a", "b"], "max_tokens": 20, "stream": True, "stream_options": {"include_usage": True}}
    lines = (await http.post(PATH, json=body, headers={"x-slo-tpot-ms": "4"})).text.split("\n\n")
    told = next(json.loads(line[6:])["usage"]["adaspec"] for line in lines if '"adaspec"' in line)
    assert told["tpot_ms"] > 4
    assert told["attained"] is False
