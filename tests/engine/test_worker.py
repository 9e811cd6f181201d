"""The order in which the worker asks, without an engine: vLLM's own worker is replaced by a recorder."""

from types import SimpleNamespace
from typing import Any

import pytest

from deployments.engine.worker import AdaptiveWorker

STEP: Any = SimpleNamespace(
    finished_req_ids=set(),
    scheduled_cached_reqs=SimpleNamespace(resumed_req_ids=set()),
    has_structured_output_requests=False,
)


class Recorder:
    """The step book, the catch-up and vLLM's worker, as far as a step calls them."""

    def __init__(self, passes: list[bool]) -> None:
        self.calls: list[Any] = []
        self._passes = iter(passes)

    def begin(self, *_: Any) -> None:
        self.calls.append("begin")

    def forget(self, _: Any) -> None:
        return None

    def passes(self) -> bool:
        return next(self._passes)

    def passed(self, *steps: int) -> None:
        self.calls.append(("missed", *steps) if steps else "passed")


def new_worker(monkeypatch: pytest.MonkeyPatch, passes: list[bool], *, breaks: bool = False) -> tuple[Any, list[Any]]:
    recorder = Recorder(passes)
    worker: Any = AdaptiveWorker.__new__(AdaptiveWorker)
    worker._book = worker._catch_up = recorder
    worker._passed, worker._rides = 0, False
    worker.model_runner = SimpleNamespace(speculative_config="draft")

    def execute_model(self: Any, step: Any) -> None:
        recorder.calls.append(("execute", self.model_runner.speculative_config))
        if breaks:
            raise RuntimeError("out of memory")

    def sample_tokens(self: Any, grammar: Any) -> str:
        recorder.calls.append(("sample", self.model_runner.speculative_config))
        return "tokens"

    (stock,) = AdaptiveWorker.__bases__
    monkeypatch.setattr(stock, "execute_model", execute_model)
    monkeypatch.setattr(stock, "sample_tokens", sample_tokens)
    return worker, recorder.calls


def test_a_step_that_passes_runs_as_without_a_draft_and_is_noted_before_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker, calls = new_worker(monkeypatch, [True, True, False, False])
    assert [worker.execute_model(STEP) for _ in range(4)] == ["tokens"] * 4
    plain = ["begin", ("execute", None), ("sample", None), "passed"]
    drafting = ["begin", ("missed", 0), ("execute", "draft"), ("sample", "draft")]
    assert calls == [*plain, *plain, "begin", ("missed", 2), *drafting[2:], *drafting]


def test_a_step_that_fails_leaves_speculation_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, _ = new_worker(monkeypatch, [True], breaks=True)
    with pytest.raises(RuntimeError, match="out of memory"):
        worker.execute_model(STEP)
    assert worker.model_runner.speculative_config == "draft"


def test_a_grammar_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, calls = new_worker(monkeypatch, [False])
    assert worker.execute_model(SimpleNamespace(**{**vars(STEP), "has_structured_output_requests": True})) is None
    assert ("sample", "draft") not in calls
