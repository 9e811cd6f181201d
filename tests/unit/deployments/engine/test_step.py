from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from deployments.engine.host import PolicyHost
from deployments.engine.step import StepBook
from policies.api import StepFeedback, StepView
from tests.unit.deployments.engine.fake_loop import K_MAX, OWN, new_host

VOCABULARY = 50
CONTEXT = 64
PROMPT = 5
QUEUE = SimpleNamespace(waiting=4, waiting_prefill_tokens=90, token_budget=128, free_kv_fraction=0.25)


class Engine:
    """vLLM's runner as far as a step book reads it. A row: (id, computed, scheduled, drafts, chunk is not the last)."""

    def __init__(self, host: PolicyHost, max_tokens: int = 1000) -> None:
        self.host, self._max_tokens = host, max_tokens
        self.runner = SimpleNamespace(requests={}, input_batch=None, discard_request_mask=None)
        self.book = StepBook(self.runner, host, K_MAX, CONTEXT)
        self.lag: np.ndarray[Any, Any] | None = None
        self._outputs: Counter[str] = Counter()
        self.passed = False  # the last step was not planned

    def step(
        self,
        *rows: tuple[str, int, int, int, bool],
        emitted: list[int],
        queue: Any = None,
        finished: tuple[str, ...] = (),
        preempted: tuple[str, ...] = (),
        resumed: tuple[str, ...] = (),
        grammar: bool = False,
        cached: dict[str, int] | None = None,
    ) -> bool:
        """Verify and plan; `emitted` tokens a row, `cached` prompt tokens of new requests. True: the draft runs."""
        for request_id, *_ in rows:
            params = SimpleNamespace(seed=None, extra_args=None, temperature=0.0, max_tokens=self._max_tokens)
            self.runner.requests.setdefault(request_id, SimpleNamespace(sampling_params=params))
        output = SimpleNamespace(
            finished_req_ids=set(finished),
            scheduled_new_reqs=[
                SimpleNamespace(req_id=r, sampling_params=None, num_computed_tokens=n)
                for r, n in (cached or {}).items()
            ],
            preempted_req_ids=set(preempted),
            num_scheduled_tokens={r[0]: r[2] for r in rows},
            total_num_scheduled_tokens=sum(r[2] for r in rows),
            scheduled_spec_decode_tokens={r[0]: [7] * r[3] for r in rows if r[3]},
            scheduled_cached_reqs=SimpleNamespace(resumed_req_ids=set(resumed)),
            has_structured_output_requests=grammar,
        )
        self.book.begin(output, queue)
        self.passed = self.book.passes()
        if self.passed:
            self.book.passed()
            self._outputs.update(r[0] for r in rows)
            return False
        self.runner.input_batch = SimpleNamespace(
            req_ids=[r[0] for r in rows],
            num_computed_tokens_cpu=np.array([r[1] for r in rows], np.int32),
            num_tokens_no_spec=np.array([PROMPT + self._outputs[r[0]] for r in rows], np.int32),
            num_prompt_tokens=np.full(len(rows), PROMPT, np.int32),
            vocab_size=VOCABULARY,
        )
        self.runner.discard_request_mask = SimpleNamespace(np=np.array([r[4] for r in rows]))
        tokens = torch.full((len(rows), 1 + max(r[3] for r in rows)), -1)
        for row, count in enumerate(emitted):
            tokens[row, :count] = 3
        self.book.verified(tokens)
        self._outputs.update({r[0]: n for r, n in zip(rows, emitted, strict=True) if not r[4]})
        return self.book.plan(self.lag)

    def select(self) -> list[int]:
        k = self.book.k
        features = {name: np.full((len(self.book.rows), k), 0.5) for name in self.book.needs}
        lengths: list[int] = self.book.select(k, features, sampled=False, draft_s=0.001).tolist()
        return lengths

    @property
    def view(self) -> StepView:
        drafting = self.book._drafting
        assert drafting is not None
        return drafting.view

    @property
    def seen(self) -> list[StepFeedback]:
        recorded: list[StepFeedback] = self.host._guard.policy.seen  # type: ignore[attr-defined]  # Answers records
        return recorded


def new_engine(**kwargs: Any) -> Engine:
    return Engine(new_host(OWN + "Answers", plan={"k": 2}), **kwargs)


def test_a_view_is_as_of_the_end_of_the_verify() -> None:
    engine = new_engine()
    engine.lag = np.array([0, 9, 4])
    # "a" verified 2 drafts and accepted 1; "b" is a chunk of a longer prompt; "c" has just finished its prompt.
    rows = (("a", 10, 3, 2, False), ("b", 16, 8, 0, True), ("c", 0, 5, 0, False))
    assert engine.step(*rows, emitted=[2, 1, 1], queue=QUEUE)
    view = engine.view
    assert view.request_ids == ("a", "c")
    assert view.context_tokens.tolist() == [13, 6]
    assert view.emitted_tokens.tolist() == [2, 1]
    assert view.draft_lag_tokens.tolist() == [0, 4]
    assert view.k_limit.tolist() == [K_MAX, K_MAX]
    assert view.prefill_tokens == 8 + 4
    assert (view.waiting, view.waiting_prefill_tokens, view.token_budget, view.free_kv_fraction) == (4, 90, 128, 0.25)
    assert engine.book.committed.tolist() == [2, 8, 5]
    assert engine.book.rows.tolist() == [0, 2]


def test_without_the_schedulers_word_the_queue_is_unknown() -> None:
    engine = new_engine()
    engine.step(("a", 0, 5, 0, False), emitted=[1])
    assert engine.view.waiting is engine.view.token_budget is engine.view.free_kv_fraction is None


def test_feedback_counts_what_was_submitted_and_accepted() -> None:
    engine = new_engine()
    engine.step(("a", 0, 5, 0, False), ("b", 0, 5, 0, False), emitted=[1, 1])
    assert engine.select() == [2, 2]
    assert engine.seen == []
    engine.step(("b", 5, 3, 2, False), ("a", 5, 3, 2, False), ("c", 0, 6, 0, True), emitted=[3, 1, 1])
    (seen,) = engine.seen
    assert seen.request_ids == ("a", "b")  # as planned, though the engine's order has changed
    assert seen.verified.tolist() == [2, 2]
    assert seen.accepted.tolist() == [0, 2]
    assert (seen.k, seen.prefill_tokens, seen.context_tokens) == (2, 6, 12)
    assert seen.step_s > 0


def test_placeholder_drafts_nobody_asked_for_are_not_counted() -> None:
    engine = new_engine(max_tokens=1)  # wants no more than it has: no room for drafts
    engine.step(("a", 0, 5, 0, False), emitted=[1])
    assert engine.select() == [0]
    engine.step(("a", 5, 3, 2, False), emitted=[1])
    (seen,) = engine.seen
    assert (seen.verified.tolist(), seen.accepted.tolist()) == ([0], [0])


@pytest.mark.parametrize(("computed", "limit"), [(57, 4), (59, 2), (60, 1), (61, 0), (62, 0)])
def test_no_draft_reaches_over_the_context(computed: int, limit: int) -> None:
    engine = new_engine()
    engine.step(("a", computed, 1, 0, False), emitted=[1])
    context = computed + 2
    assert engine.view.context_tokens.tolist() == [context]
    assert engine.view.k_limit.tolist() == [limit]
    assert context + limit + 1 <= CONTEXT or limit == 0


@pytest.mark.parametrize(("max_tokens", "limit"), [(10, 4), (4, 2), (3, 1), (2, 0), (1, 0)])
def test_no_draft_beyond_what_the_request_still_wants(max_tokens: int, limit: int) -> None:
    engine = new_engine(max_tokens=max_tokens)
    engine.step(("a", 5, 1, 0, False), emitted=[1])
    assert engine.view.k_limit.tolist() == [limit]


def test_a_plan_is_verified_once() -> None:
    engine = new_engine()
    engine.step(("a", 0, 5, 0, False), emitted=[1])
    engine.select()
    engine.step(("b", 0, 8, 0, True), emitted=[1])  # "a" was preempted: its drafts are gone
    engine.step(("a", 0, 4, 0, True), ("b", 8, 8, 0, True), emitted=[1, 1])  # it computes its tokens again
    assert engine.seen == []


def test_a_finished_request_is_not_in_the_feedback() -> None:
    engine = new_engine()
    engine.step(("a", 0, 5, 0, False), ("b", 0, 5, 0, False), emitted=[1, 1])
    engine.select()
    engine.step(("b", 5, 3, 2, False), emitted=[2], finished=("a",))
    assert engine.seen[0].request_ids == ("b",)
    assert engine.seen[0].accepted.tolist() == [1]


def test_nobody_is_asked_while_only_prompts_are_computed() -> None:
    engine = new_engine()
    assert not engine.step(("a", 0, 8, 0, True), emitted=[1])
    assert engine.select() == []
    assert engine.host.telemetry.reasons == {}


def test_a_draft_that_was_running_keeps_its_cache_filled_through_a_prompt_chunk() -> None:
    engine = new_engine()
    assert engine.step(("a", 0, 5, 0, False), emitted=[1])
    assert engine.step(("b", 0, 8, 0, True), emitted=[1])
    assert engine.book.k == 0


def test_k_0_asks_for_no_features_and_no_draft() -> None:
    engine = Engine(new_host("off"))
    assert not engine.step(("a", 0, 5, 0, False), emitted=[1])
    assert engine.book.needs == frozenset()
    assert not engine.book.stops_early
    assert engine.select() == [0]


def test_steps_and_tokens_are_counted_with_prompt_chunks_but_not_their_unused_samples() -> None:
    engine = new_engine()
    engine.step(("a", 0, 8, 0, True), emitted=[1])
    engine.step(("a", 8, 8, 0, False), emitted=[1])
    engine.select()
    engine.step(("a", 16, 3, 2, False), emitted=[3])
    assert engine.host.telemetry.counts["steps"] == 3
    assert engine.host.telemetry.counts["emitted_tokens"] == 4


def test_what_a_catch_up_cost_is_told_with_the_plan_it_served() -> None:
    engine = new_engine()
    engine.step(("a", 0, 5, 0, False), emitted=[1])
    engine.book.caught_up(6)
    engine.select()
    engine.step(("a", 5, 3, 2, False), emitted=[1])
    assert engine.seen[0].catch_up_tokens == 6
    assert engine.host.telemetry.counts["catch_up_tokens"] == 6


def test_a_plain_step_is_read_as_any_other() -> None:
    """The short way for one token a request and no drafts, against the long way over the same requests."""
    short, long = Engine(new_host("fixed", k=0)), Engine(new_host("fixed", k=0))
    for engine in (short, long):
        engine.step(("a", 0, 5, 0, False), ("b", 0, 7, 0, False), emitted=[1, 1])
    short.step(("a", 5, 1, 0, False), ("b", 7, 1, 0, False), emitted=[1, 1])
    long.step(("a", 5, 1, 0, False), ("b", 7, 1, 0, False), ("c", 0, 4, 0, True), emitted=[1, 1, 1])
    for name in ("context_tokens", "emitted_tokens", "k_limit", "temperature", "tpot_slo_s"):
        assert getattr(short.view, name).tolist() == getattr(long.view, name).tolist(), name
    assert short.view.context_tokens.tolist() == [7, 9]
    assert short.view.emitted_tokens.tolist() == [2, 2]
    assert (short.view.prefill_tokens, long.view.prefill_tokens) == (0, 4)
    assert short.book.committed.tolist() == long.book.committed[:2].tolist() == [1, 1]
    assert short.book.counts.tolist() == [1, 1]


def test_a_policy_that_writes_into_what_it_is_shown_changes_no_later_step() -> None:
    engine = Engine(new_host(OWN + "Scribbles"))
    for computed in (0, 5, 6):
        engine.step(("a", computed, 1 if computed else 5, 0, False), emitted=[1])
        assert engine.view.temperature.tolist() == [0.0]
    assert engine.host._guard.faults == {"raised:ValueError": 1}


def test_what_the_scheduler_did_is_counted() -> None:
    engine = new_engine()
    engine.step(("a", 32, 5, 0, False), ("b", 0, 8, 0, True), emitted=[1, 1], cached={"a": 32, "b": 0})
    engine.select()
    engine.step(("a", 37, 1, 0, False), emitted=[1], preempted=("b",))
    report = engine.host.telemetry.report(0.0)
    assert (report.prefix_hit_tokens, report.preemptions, report.prompt_chunks) == (32, 1, 1)


def asked(engine: Engine, steps: int, *ids: str, computed: int) -> list[bool]:
    """Whether each of some steps of one token a request was planned."""
    found = []
    for step in range(steps):
        engine.step(*((r, computed + step, 1, 0, False) for r in ids), emitted=[1] * len(ids))
        found.append(not engine.passed)
        if not engine.passed:
            engine.select()
    return found


def test_an_answer_that_holds_is_asked_for_when_the_batch_changes_and_every_eighth_time() -> None:
    engine = Engine(new_host("off"))
    assert asked(engine, 18, "a", "b", computed=9) == [i % 8 == 0 for i in range(18)]
    assert asked(engine, 3, "b", computed=30) == [True, False, False]
    assert asked(engine, 2, "b", "c", computed=30) == [True, False]
    assert not any(engine.step(("b", 40, 1, 0, False), ("c", 40, 1, 0, False), emitted=[1, 1]) for _ in range(9))


def test_a_policy_that_comes_in_is_asked_though_the_last_answer_holds() -> None:
    engine = Engine(new_host("off"))
    assert asked(engine, 3, "a", computed=9) == [True, False, False]
    engine.host.set_policy("fixed", {"k": 1})
    assert engine.step(("a", 12, 1, 0, False), emitted=[1])
    assert not engine.passed


def test_a_step_that_is_not_the_one_before_is_planned() -> None:
    for row, more in (
        (("a", 12, 2, 0, False), {}),
        (("a", 12, 2, 1, False), {}),
        (("a", 12, 1, 0, False), {"resumed": ("a",)}),
        (("a", 12, 1, 0, False), {"cached": {"a": 0}}),
        (("a", 12, 1, 0, False), {"grammar": True}),
    ):
        engine = Engine(new_host("off"))
        assert asked(engine, 3, "a", computed=9) == [True, False, False]
        engine.step(row, emitted=[1], **more)
        assert not engine.passed


def test_a_request_whose_prompt_was_under_way_when_it_was_planned_is_planned_again() -> None:
    engine = Engine(new_host("off"))
    engine.step(("a", 9, 1, 0, False), ("b", 0, 8, 0, True), emitted=[1, 1])
    engine.select()
    engine.step(("a", 10, 1, 0, False), ("b", 8, 1, 0, False), emitted=[1, 1])
    assert not engine.passed


def test_steps_nobody_was_asked_for_are_in_the_report() -> None:
    engine, other = Engine(new_host("off")), Engine(new_host("fixed", k=0))
    for one in (engine, other):
        asked(one, 10, "a", computed=9)
    mine, theirs = engine.host.telemetry.report(0.0), other.host.telemetry.report(0.0)
    assert mine.k_steps == theirs.k_steps == {0: 10}
    assert mine.reasons["off"] == 10
    assert (mine.decode_steps, mine.request_steps, mine.emitted_tokens) == (9, 9, 10)
    assert (theirs.decode_steps, theirs.request_steps, theirs.emitted_tokens) == (9, 9, 10)
    assert mine.step_s > 0
    assert mine.verify_s > 0


def test_a_wait_for_work_is_in_no_step_period() -> None:
    engine = Engine(new_host("off"))
    asked(engine, 4, "a", computed=9)
    asked(engine, 1, "b", computed=9)
    assert engine.host.telemetry.report(0.0).decode_steps == 3


def test_every_step_of_a_traced_request_is_noted() -> None:
    engine = Engine(new_host("off"))
    engine.host.traces.scheduled("a", {"adaspec_traceparent": "00-1-2-01"})
    assert asked(engine, 5, "a", computed=9) == [True] * 5


def test_a_new_policy_is_asked_at_once() -> None:
    engine = Engine(new_host("off"))
    asked(engine, 3, "a", computed=9)
    engine.host.set_policy("fixed", {"k": 2})
    assert engine.step(("a", 12, 1, 0, False), emitted=[1])
    assert engine.select() == [2]
