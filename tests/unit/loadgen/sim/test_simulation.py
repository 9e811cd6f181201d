from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.sim.fleet import Simulation
from loadgen.sim.replica import Replica
from loadgen.sim.report import summary
from policies.api import StepFeedback, StepPlan, StepView
from tests.unit.loadgen.sim.scenarios import policy, scenario


def jumpy(view: StepView) -> StepPlan:
    """A policy of changing lengths, per request too."""
    k_by_request = (view.emitted_tokens + view.step) % (view.k_max + 1)
    return StepPlan(k=view.k_max, k_by_request=k_by_request)


JUMPY = {"name": f"{__name__}:jumpy"}
TIGHT = {"k_max": 5, "seats": 8, "token_budget": 24, "kv_tokens": 500}


def watch(monkeypatch: pytest.MonkeyPatch, name: str, seen: list[Any]) -> None:
    """Call through to Replica.<name>, then note (replica, result)."""
    original = getattr(Replica, name)

    def wrapped(self: Replica, *args: Any) -> Any:
        result = original(self, *args)
        seen.append((self, result))
        return result

    monkeypatch.setattr(Replica, name, wrapped)


@pytest.mark.parametrize("chosen", [policy("off"), policy("fixed", k=3), policy("oracle"), JUMPY])
@pytest.mark.parametrize("engine", [{"k_max": 5, "seats": 8}, TIGHT])
def test_every_request_comes_out_once_with_all_its_tokens(chosen: dict[str, Any], engine: dict[str, Any]) -> None:
    done = Simulation(scenario(policy=chosen, engine=engine, fleet={"replicas": 2})).run()
    record, work = done.record, done.work
    assert record.left == 0
    assert np.isfinite(record.finish_s).all()
    assert (record.first_s >= work.arrival_s).all()
    assert (record.finish_s >= record.first_s).all()
    prefills = len(work) + record.preempted.sum()  # each prefill yields one token
    assert sum(r.tally.emitted_tokens for r in done.replicas) == work.output_tokens.sum() - prefills
    assert all(r.load == 0 and r.used_blocks() == 0 for r in done.replicas)
    assert not any(r.faults for r in done.replicas)


def test_kv_and_token_budget_are_never_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Any] = []
    original = Replica._schedule

    def schedule(self: Replica, now: float) -> float | None:
        result = original(self, now)
        drafts = 0 if self._drafts is None else int(self._drafts.lengths.sum())
        chunks = sum(c.tokens for c in self._chunks)
        steps.append((self.used_blocks(), self.kv_blocks, self.batch.n + drafts + chunks))
        assert self._decode_blocks == int(self._blocks(self.batch.context).sum())
        assert self.batch.n + len(self.queue.prefilling) <= TIGHT["seats"]
        return result

    monkeypatch.setattr(Replica, "_schedule", schedule)
    done = Simulation(scenario(policy=JUMPY, engine=TIGHT, arrivals={"kind": "poisson", "rps": 40})).run()
    used, room, tokens = np.array(steps).T
    assert (used <= room).all()
    assert (tokens <= TIGHT["token_budget"]).all()
    assert tokens.max() == TIGHT["token_budget"]
    assert done.record.preempted.sum() > 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([policy("off"), policy("fixed", k=2), JUMPY]))
def test_the_seed_decides_everything(seed: int, chosen: dict[str, Any]) -> None:
    first, second = (Simulation(scenario(seed=seed, duration_s=1.0, policy=chosen)).run() for _ in range(2))
    assert np.array_equal(first.record.finish_s, second.record.finish_s)
    assert summary(first)["speculation"] == summary(second)["speculation"]


def test_the_same_request_meets_the_same_outcomes_under_every_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: dict[str, dict[tuple[str, int], bool]] = {}
    original = Replica._emit

    def emit(self: Replica, now: float) -> None:
        before = dict(zip(self.batch.request_ids, self.batch.emitted.tolist(), strict=True))
        learnt: list[StepFeedback] = []
        monkeypatch.setattr(self._spec, "learn", learnt.append)
        original(self, now)
        for seen in learnt:
            for i, request in enumerate(seen.request_ids):
                for j in range(min(int(seen.accepted[i]) + 1, int(seen.verified[i]))):
                    outcomes[name][request, before[request] + j] = bool(j < seen.accepted[i])

    monkeypatch.setattr(Replica, "_emit", emit)
    for name, chosen in (("fixed", policy("fixed", k=4)), ("jumpy", JUMPY)):
        outcomes[name] = {}
        Simulation(scenario(policy=chosen)).run()
    both = outcomes["fixed"].keys() & outcomes["jumpy"].keys()
    assert len(both) > 200
    assert all(outcomes["fixed"][key] == outcomes["jumpy"][key] for key in both)


def test_off_is_plain_decoding_by_the_formula() -> None:
    cost = scenario().truth.model_copy(update={"noise": 0.0}).model_dump()
    lengths = {"mean_tokens": 40, "cv": 0.0, "max_tokens": 80}
    alone = scenario(cost=cost, requests=1, prompt=lengths, output=lengths, policy=policy("off"), engine={})
    done = Simulation(alone).run()
    truth = alone.truth
    steps_s = [truth.verify_s(40, 1, 0), *(truth.verify_s(1, 1, 41 + i) for i in range(39))]
    assert done.record.first_s[0] - done.work.arrival_s[0] == pytest.approx(steps_s[0])
    assert done.record.finish_s[0] - done.work.arrival_s[0] == pytest.approx(sum(steps_s))


@pytest.mark.parametrize("cost", ["cpu_270m", "h100_8b_1b"])
def test_the_oracle_is_at_least_every_static_length(cost: str) -> None:
    quiet = scenario(cost=cost).truth.model_copy(update={"noise": 0.0}).model_dump()

    def busy_s(chosen: dict[str, Any]) -> float:
        lengths = {"mean_tokens": 60, "cv": 0.3, "max_tokens": 120}
        base = {"cost": quiet, "engine": {"k_max": 5, "seats": 8}, "output": lengths, "duration_s": 20.0}
        done = Simulation(scenario(policy=chosen, **base, arrivals={"kind": "poisson", "rps": 60}, requests=90)).run()
        return float(np.nanmax(done.record.finish_s))

    oracle_s = busy_s(policy("oracle"))
    assert all(oracle_s <= busy_s(policy("fixed", k=k)) * 1.01 for k in (0, 1, 2, 4))


def test_plain_steps_leave_the_draft_behind_and_drafting_catches_up() -> None:
    def seldom(view: StepView) -> int:
        return 2 if view.step % 10 == 0 else 0

    globals()["seldom"] = seldom
    roomy = {"k_max": 5, "seats": 8}
    done = Simulation(scenario(policy={"name": f"{__name__}:seldom"}, engine=roomy)).run()
    tally = done.replicas[0].tally
    assert tally.catch_up_tokens > 5 * tally.k_steps[2]
    always = Simulation(scenario(policy=policy("fixed", k=2), engine=roomy)).run().replicas[0].tally
    assert always.catch_up_tokens == 0


def test_offloading_the_draft_buys_kv_and_stops_drafting() -> None:
    def leave(view: StepView) -> StepPlan:
        return StepPlan(k=2, draft_memory="offload" if view.step == 5 else "keep")

    globals()["leave"] = leave
    done = Simulation(scenario(policy={"name": f"{__name__}:leave"}, engine=TIGHT)).run()
    replica = done.replicas[0]
    assert replica.tally.k_steps[2] <= 5
    assert replica.kv_blocks == (500 // 16) + done.scenario.truth.offload_kv_tokens // 16


@pytest.mark.parametrize("mode", ["live", "frozen", "none"])
def test_the_outlook_reaches_the_policy_as_the_scenario_says(mode: str) -> None:
    seen: list[StepView] = []

    def look(view: StepView) -> int:
        seen.append(view)
        return 0

    globals()["look"] = look
    step = {"kind": "step", "rps": 4, "to_rps": 60, "at_s": 2.0}
    Simulation(scenario(policy={"name": f"{__name__}:look"}, fleet={"outlook": mode}, arrivals=step)).run()
    outlooks = {v.outlook.at_s: v.outlook for v in seen if v.outlook is not None}
    assert len(outlooks) == {"none": 0, "frozen": 1}.get(mode, len(outlooks))
    if mode == "live":
        assert len(outlooks) > 8
        assert max(o.arrival_rps for o in outlooks.values()) > 25
        assert max(v.outlook.age_s for v in seen if v.outlook is not None) <= 0.25 + 1e-9
