import asyncio
import json
from typing import Any

import pytest

from deployments.calls import Call, answer, whole
from deployments.engine.request_trace import TRACE_KEY
from deployments.fake_backend import FakeBackend
from deployments.settings import FakeEngine
from policies.exchange import ReplicaReport
from policies.registry import PolicySpec

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def backend(policy: str = "fixed", seats: int = 8, **more: Any) -> FakeBackend:
    params = {"k": 3} if policy == "fixed" else {}
    spec = PolicySpec(name=policy, params=params)
    return FakeBackend(FakeEngine(kind="fake", step_ms=1, k_max=4, max_num_seqs=seats, safe_policy=spec, **more))


async def complete(fake: FakeBackend, **body: Any) -> int:
    call = Call("POST", "/v1/completions", (), json.dumps({"prompt": "a b", "max_tokens": 20, **body}).encode())
    status, text = await whole(fake.app, call)
    assert status == 200
    return len(json.loads(text)["choices"][0]["text"].split())


async def reported(fake: FakeBackend) -> ReplicaReport:
    return await fake.exchange(None)


async def test_every_request_gets_its_tokens_and_the_report_counts_them() -> None:
    fake = backend()
    assert await asyncio.gather(*(complete(fake, max_tokens=n) for n in (1, 7, 20))) == [1, 7, 20]
    report = await reported(fake)
    assert report.emitted_tokens == 28
    assert report.k_steps[3] > 0
    assert report.drafted_tokens >= report.verified_tokens >= report.accepted_tokens > 0


async def test_a_sure_draft_needs_a_step_for_four_tokens() -> None:
    fake = backend(acceptance=1.0)
    await complete(fake, max_tokens=41)  # one at the prefill, then four a step
    report = await reported(fake)
    assert sum(report.k_steps.values()) == 10
    assert report.accepted_tokens == report.verified_tokens == 30


async def test_more_than_its_seats_wait() -> None:
    fake = backend(seats=1)
    await asyncio.gather(*(complete(fake, max_tokens=3) for _ in range(3)))
    assert (await reported(fake)).batch == 1


async def test_an_adaptive_policy_gives_its_own_reasons() -> None:
    fake = backend("slo_goodput")
    await complete(fake, max_tokens=40)
    assert set((await reported(fake)).reasons) <= {"draft", "plain", "probe", "no_room"}


async def test_a_traced_request_is_reported_once() -> None:
    fake = backend()
    await complete(fake, vllm_xargs={TRACE_KEY: PARENT})
    (found,) = (await reported(fake)).traced
    assert (found.traceparent, found.policy) == (PARENT, "fixed")
    assert found.accepted_tokens > 0
    assert (await reported(fake)).traced == ()


async def test_leaving_frees_the_seat() -> None:
    fake = backend(seats=1)
    call = Call("POST", "/v1/completions", (), json.dumps({"prompt": "a", "stream": True, "max_tokens": 2000}).encode())
    parts = answer(fake.app, call)
    await anext(parts)
    await parts.aclose()
    assert await asyncio.wait_for(complete(fake, max_tokens=2), 10) == 2


async def test_a_new_policy_serves_the_next_step() -> None:
    fake = backend()
    assert (await fake.set_policy(PolicySpec(name="off")))["ok"]
    await complete(fake)
    assert set((await reported(fake)).k_steps) == {0}


@pytest.mark.parametrize("name", ["fixed", "slo_goodput"])
async def test_what_if_shows_every_k(name: str) -> None:
    fake = backend(name)
    await complete(fake)
    found = (await reported(fake)).what_if
    assert found is not None
    assert len(found.step_s) == 5
