"""The built-in calibration against an engine that only records what it is asked; it needs vLLM's classes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from vllm import SamplingParams

from deployments.profile.builtin import calibrate, shapes
from deployments.settings import VllmEngine


class Recorder:
    """Stands in for AsyncLLM and its collective calls; learns one step time a request."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.running = self.most = self.learned = 0

    async def rpc(self, method: str, *args: Any) -> dict[str, Any]:
        self.calls.append((method, *args))
        return {"cost": self.learned, "acceptance": self.learned, "policy": "kept"}

    async def generate(self, prompt: Any, params: SamplingParams, name: str) -> AsyncIterator[str]:
        self.running += 1
        self.most = max(self.most, self.running)
        self.learned += 1
        for _ in range(3):
            yield name
        self.running -= 1


def engine(**given: Any) -> VllmEngine:
    return VllmEngine.model_validate({"kind": "vllm", "model": "m", "draft": "d", "k_max": 5, **given})


async def test_times_are_kept_what_was_accepted_is_forgotten_and_the_safe_policy_serves() -> None:
    recorder = Recorder()
    done = await calibrate(recorder, recorder.rpc, engine(max_num_seqs=8, calibrate_s=60))
    assert done == len(shapes(engine(max_num_seqs=8)))
    assert recorder.calls[-3][:2] == ("set_policy", "off")
    restored = recorder.calls[-1][1]
    assert (restored["cost"], restored["acceptance"], restored["policy"]) == (recorder.learned, 0, "kept")


async def test_no_time_no_shapes() -> None:
    recorder = Recorder()
    assert await calibrate(recorder, recorder.rpc, engine(calibrate_s=0)) == 0
    assert recorder.learned == 0


def test_shapes_stay_within_the_engine() -> None:
    for seats in (1, 3, 32):
        found = shapes(engine(max_num_seqs=seats, k_max=1))
        assert max(batch for batch, _ in found) <= seats
        assert {k for _, k in found} == {0, 1}
        assert len(found) == len(set(found))
