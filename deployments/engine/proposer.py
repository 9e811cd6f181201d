"""vLLM's draft loop, run to the policy's length: how far, when to stop, which lengths to verify.

A mixin over vLLM's base proposer, so draft models and EAGLE-like heads share it. No loop of vLLM's is copied:
`propose` is called with the plan's K, and an early stop is an exception raised from the sampling hook inside it.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from vllm.v1.spec_decode.draft_model import DraftModelProposer
from vllm.v1.spec_decode.eagle import EagleProposer

from deployments.engine import features
from deployments.engine.catch_up import CatchUp
from deployments.engine.step import StepBook
from policies.api import DraftObservation, Feature, FloatArray


class StopDrafting(Exception):
    """Leaves vLLM's draft loop; what was drafted is kept."""


class AdaptiveProposer:
    """The part that is alike for every kind of draft. `attach` before the first step."""

    book: StepBook
    catch_up: CatchUp | None = None  # None: the draft cannot be caught up (it needs the target's hidden states)

    def attach(self, book: StepBook, catch_up: CatchUp | None) -> None:
        self.book, self.catch_up = book, catch_up
        self._skip = False
        self._slots: list[tuple[torch.Tensor, torch.Tensor | None, dict[Feature, torch.Tensor]]] = []
        self._shown: list[dict[Feature, FloatArray]] = []  # features of the first slots, which the policy has seen

    # The three methods vLLM's runner calls after each verify, in this order.

    def prepare_next_token_ids_padded(
        self, sampled_token_ids: torch.Tensor, requests: Any, gpu_input_batch: Any, discard_request_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.book.verified(sampled_token_ids)
        runs = self.book.plan(None if self.catch_up is None else self.catch_up.lag(self.book))
        self._skip = not runs and self.catch_up is not None
        if self._skip:  # nothing will be drafted: the next tokens are not needed
            unused = sampled_token_ids[:, 0]
            return unused, unused
        return super().prepare_next_token_ids_padded(  # type: ignore[misc,no-any-return]  # vLLM's class comes after
            sampled_token_ids, requests, gpu_input_batch, discard_request_mask
        )

    def prepare_inputs_padded(self, common_attn_metadata: Any, spec_decode_metadata: Any, counts: Any) -> Any:
        if self._skip:
            return common_attn_metadata, None, None
        return super().prepare_inputs_padded(common_attn_metadata, spec_decode_metadata, counts)  # type: ignore[misc]

    def propose(self, num_speculative_tokens: int, **inputs: Any) -> list[list[int]]:
        """Draft tokens to verify, one list a request in the engine's order."""
        started = time.perf_counter()
        self._slots, self._shown, self._last_draft_probs = [], [], None
        try:
            if self.catch_up is not None:
                self.catch_up.before_draft(self, self.book, inputs["common_attn_metadata"], run=not self._skip)
            if not self._skip:
                self._draft(inputs)
        except Exception as error:  # noqa: BLE001 - the boundary: whatever the draft model does, the target decodes on
            self._failed(error)
        return self._chosen(started, inputs["sampling_metadata"])

    # The hook inside vLLM's loop.

    def _sample_draft_tokens(
        self, hidden_states: torch.Tensor, sampling_metadata: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        needs = self.book.needs
        if not needs and not self.book.stops_early:
            tokens, probs = super()._sample_draft_tokens(hidden_states, sampling_metadata)  # type: ignore[misc]
            self._slots.append((tokens, probs, {}))
            return tokens, probs
        logits = self.model.compute_logits(hidden_states)  # type: ignore[attr-defined]
        seen = features.before_sampling(logits, needs)  # before: vLLM scales the logits in place
        tokens, probs = self._sample_from_logits(logits, sampling_metadata)  # type: ignore[attr-defined]
        if "sampled_p" in needs:
            seen["sampled_p"] = features.of_sampled(logits, tokens, probs)
        self._slots.append((tokens, probs, seen))
        self._maybe_stop(seen, sampled=probs is not None)
        return tokens, probs

    def _maybe_stop(self, seen: dict[Feature, torch.Tensor], *, sampled: bool) -> None:
        j = len(self._slots) - 1
        if j + 1 >= self.book.k or not self.book.may_stop(sampled=sampled):
            return
        host = features.slot_to_host(seen, self.book.rows)
        self._shown.append(host)
        if not self.book.go_on(DraftObservation(j, host, self.book.drafting_s())):
            raise StopDrafting

    # Parts of propose.

    def _draft(self, inputs: dict[str, Any]) -> None:
        try:
            super().propose(self.book.k, **inputs)  # type: ignore[misc]
        except StopDrafting:
            probs = [p for _, p, _ in self._slots if p is not None]
            self._last_draft_probs = torch.stack(probs, dim=1).contiguous() if probs else None

    def _failed(self, error: Exception) -> None:
        """Nothing was drafted. What breaks the device for good breaks the target's next step too."""
        self._slots, self._shown, self._last_draft_probs = [], [], None
        self.book.draft_failed(error)
        if self.catch_up is not None:
            self.catch_up.failed(self.book)

    def _chosen(self, started: float, sampling_metadata: Any) -> list[list[int]]:
        lists: list[list[int]] = [[] for _ in range(self.book.num_rows)]
        k = len(self._slots)
        seen = self._features()
        sampled = any(p is not None for _, p, _ in self._slots)
        lengths = self.book.select(k, seen, sampled=sampled, draft_s=time.perf_counter() - started)
        if k:
            tokens = torch.stack([t for t, _, _ in self._slots], dim=1).tolist()
            for row, length in zip(self.book.rows.tolist(), lengths.tolist(), strict=True):
                lists[row] = tokens[row][:length]
        return lists

    def _features(self) -> dict[Feature, FloatArray]:
        """[B, K] of all slots; those shown slot by slot are on the host already."""
        slots, rows = [seen for _, _, seen in self._slots], self.book.rows
        if not self._shown:
            return features.to_host(slots, rows)
        return features.joined([*self._shown, *(features.slot_to_host(s, rows) for s in slots[len(self._shown) :])])


class AdaptiveDraftModel(AdaptiveProposer, DraftModelProposer):
    """A separate draft model. At K = 0 it does not run; its cache is caught up when it does again."""


class AdaptiveEagle(AdaptiveProposer, EagleProposer):
    """EAGLE, EAGLE-3 and MTP heads.

    They read the target's hidden states, which are gone when K rises again: their first forward runs at K = 0 too.
    """
