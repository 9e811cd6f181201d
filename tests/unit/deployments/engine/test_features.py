import numpy as np
import pytest
import torch

from deployments.engine.features import before_sampling, joined, of_sampled, slot_to_host, to_host
from policies.api import Feature

LOGITS = torch.randn(5, 11, generator=torch.Generator().manual_seed(0)) * 3
ALL: frozenset[Feature] = frozenset({"top1", "margin", "entropy", "sampled_p"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_are_those_of_the_softmax(dtype: torch.dtype) -> None:
    logits = LOGITS.to(dtype)
    p = torch.softmax(logits.double(), dim=-1)
    found = before_sampling(logits, ALL)
    best = logits.double().sort(dim=-1, descending=True).values
    assert set(found) == {"top1", "margin", "entropy"}
    torch.testing.assert_close(found["top1"].double(), p.max(dim=-1).values, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found["margin"].double(), best[:, 0] - best[:, 1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found["entropy"].double(), -(p * p.log()).sum(dim=-1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("needs", [(), ("sampled_p",), ("margin",), ("top1", "entropy")])
def test_only_what_is_needed_is_computed(needs: tuple[Feature, ...]) -> None:
    assert set(before_sampling(LOGITS, frozenset(needs))) == set(needs) - {"sampled_p"}


def test_certainty_is_not_lost_at_large_logits() -> None:
    found = before_sampling(torch.tensor([[1e4, 0.0, -1e4]]), ALL)
    assert (found["top1"].item(), found["entropy"].item()) == (1.0, 0.0)


def test_the_logits_are_left_as_they_were() -> None:
    logits = LOGITS.clone()
    before_sampling(logits, ALL)
    of_sampled(logits, torch.zeros(5, dtype=torch.int32), None)
    assert torch.equal(logits, LOGITS)


def test_the_drawn_tokens_probability_is_that_it_was_drawn_with() -> None:
    tokens = torch.tensor([0, 3, 10, 5, 1], dtype=torch.int32)
    probs = torch.softmax(LOGITS / 0.7, dim=-1)
    rows = torch.arange(5)
    torch.testing.assert_close(of_sampled(LOGITS, tokens, probs), probs[rows, tokens.long()])
    torch.testing.assert_close(of_sampled(LOGITS, tokens, None), torch.softmax(LOGITS, dim=-1)[rows, tokens.long()])


def test_slots_become_columns_of_the_chosen_rows() -> None:
    slots: list[dict[Feature, torch.Tensor]] = [
        {"top1": torch.arange(3) + 10.0 * j, "margin": torch.arange(3) - 10.0 * j} for j in range(2)
    ]
    host = to_host(slots, np.array([2, 0]))
    assert host["top1"].tolist() == [[2.0, 12.0], [0.0, 10.0]]
    assert host["margin"].tolist() == [[2.0, -8.0], [0.0, -10.0]]
    assert host["top1"].dtype == np.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_slot_becomes_the_chosen_rows(dtype: torch.dtype) -> None:
    host = slot_to_host({"top1": torch.arange(3).to(dtype)}, np.array([2, 0]))
    assert host["top1"].tolist() == [2.0, 0.0]
    assert host["top1"].dtype == np.float64


@pytest.mark.parametrize("slots", [[], [{}], [{}, {}]])
def test_nothing_drafted_or_nothing_needed_gives_no_arrays(slots: list[dict[Feature, torch.Tensor]]) -> None:
    assert to_host(slots, np.array([0])) == {}


def test_what_is_no_number_is_the_least_sure() -> None:
    """Overflowed logits of one draft must not reach what the models learn from."""
    logits = torch.tensor([[float("nan"), 1.0], [float("inf"), float("inf")], [2.0, 1.0]])
    seen = before_sampling(logits, ALL)
    assert [np.isfinite(v).all() for v in slot_to_host(seen, np.arange(3)).values()] == [True] * 3
    top1 = to_host([seen], np.arange(3))["top1"][:, 0]
    assert top1[:2].tolist() == [0.0, 0.0]
    assert top1[2] > 0.5
    assert to_host([seen], np.arange(3))["entropy"][:2, 0].min() > np.log(2)  # not sure of it at all
    sure = before_sampling(torch.tensor([[1.0, float("-inf")]]), ALL)
    assert slot_to_host(sure, np.arange(1))["margin"].item() > 100


def test_a_token_that_cannot_come_adds_no_entropy() -> None:
    found = before_sampling(torch.tensor([[0.0, 0.0, float("-inf")]]), ALL)
    assert found["entropy"].item() == pytest.approx(np.log(2))


def test_slots_joined_on_the_host_are_what_copying_all_at_once_gives() -> None:
    needs: frozenset[Feature] = frozenset({"top1", "entropy"})
    slots = [before_sampling(torch.randn(5, 11), needs) for _ in range(3)]
    for rows in (np.arange(5), np.array([0, 3])):
        at_once, one_by_one = to_host(slots, rows), joined([slot_to_host(slot, rows) for slot in slots])
        assert list(one_by_one) == list(at_once)
        for name, values in at_once.items():
            np.testing.assert_array_equal(one_by_one[name], values)


def test_a_slot_shown_to_a_policy_is_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        slot_to_host({"top1": torch.ones(2)}, np.arange(2))["top1"][0] = 0.0
