import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from deployments.backend import PolicyRefused
from deployments.calls import Call, answer, whole
from deployments.fake_backend import FakeBackend
from deployments.settings import FakeEngine
from policies.registry import PolicySpec


def call(**body: Any) -> Call:
    return Call("POST", "/v1/completions", (), json.dumps({"prompt": "p", **body}).encode())


async def complete(fake: FakeBackend, **body: Any) -> dict[str, Any]:
    _, answered = await whole(fake.app, call(**body))
    found: dict[str, Any] = json.loads(answered)
    return found


@pytest.fixture
def fake() -> FakeBackend:
    return FakeBackend(FakeEngine(kind="fake"))


async def test_the_same_request_gives_the_same_words_and_a_seed_others(fake: FakeBackend) -> None:
    texts = [(await complete(fake, seed=seed))["choices"][0]["text"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


async def test_it_stops_before_a_stop_word_and_makes_n_choices(fake: FakeBackend) -> None:
    words = (await complete(fake, max_tokens=5))["choices"][0]["text"].split()
    stopped = (await complete(fake, max_tokens=5, stop=words[2], n=2))["choices"]
    assert stopped[0]["text"].split() == words[:2]
    assert [c["finish_reason"] for c in stopped] == ["stop", "length"]


async def test_a_held_request_waits_for_its_file(fake: FakeBackend, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    parts = answer(fake.app, call(stream=True, max_tokens=2, fake={"hold_at": 1, "until": str(gate)}))
    await anext(parts)
    second = asyncio.ensure_future(anext(parts))
    await asyncio.wait([second], timeout=0.05)
    assert not second.done()
    assert fake.counters["held"] == 1
    gate.touch()
    assert b"data: " in bytes(await second)  # type: ignore[arg-type]  # not a Head after the first part
    await parts.aclose()


async def test_leaving_a_request_counts_as_cancelled_and_frees_its_place(fake: FakeBackend, tmp_path: Path) -> None:
    never = {"hold_at": 1, "until": str(tmp_path / "never")}
    parts = answer(fake.app, call(stream=True, fake=never))
    await anext(parts)
    assert fake.counters["running"] == 1
    await parts.aclose()
    assert (fake.counters["running"], fake.counters["cancelled"]) == (0, 1)


async def test_parameters_keep_learned_state_and_a_new_policy_does_not(fake: FakeBackend) -> None:
    await fake.set_policy(PolicySpec(name="fixed", params={"k": 1}))
    await complete(fake, max_tokens=3)
    kept = await fake.set_policy(PolicySpec(name="fixed", params={"k": 2}))
    fresh = await fake.set_policy(PolicySpec(name="off"))
    assert (kept["state"], fresh["state"]) == ({"tokens": 3}, {"tokens": 0})


async def test_a_refused_policy_leaves_the_old_one(fake: FakeBackend) -> None:
    with pytest.raises(PolicyRefused, match="unknown policy"):
        await fake.set_policy(PolicySpec(name="nosuch"))
    assert (await fake.exchange(None)).policy == "off"


async def test_time_passes_as_the_contract_says() -> None:
    fake = FakeBackend(FakeEngine(kind="fake", ttft_ms=30, tpot_ms=10))
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    await complete(fake, max_tokens=3)
    assert loop.time() - started_s >= 0.05
