"""A replica's waiting and prefilling requests: first come first served, whole KV reserved at admission."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class Prompt:
    """Tokens to compute before decoding: a new prompt, or all of a preempted request's context."""

    request: int
    tokens: int
    emitted: int = 0
    first_s: float | None = None  # when its first token came, before it was preempted
    done: int = 0
    fresh: int = 0  # of them, computed in the step just done
    lag: int = 0  # computed before that, and the draft has not seen them

    @property
    def left(self) -> int:
        return self.tokens - self.done


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one step computes of a prompt."""

    prompt: Prompt
    tokens: int


class Queue:
    """Requests that do not decode yet."""

    def __init__(self) -> None:
        self.waiting: deque[Prompt] = deque()
        self.prefilling: list[Prompt] = []
        self.tokens = 0  # left to compute over both
        self.reserved_blocks = 0

    def add(self, prompt: Prompt, *, front: bool = False) -> None:
        (self.waiting.appendleft if front else self.waiting.append)(prompt)
        self.tokens += prompt.left

    def left_waiting(self) -> tuple[int, int]:
        """Requests that wait, and their tokens."""
        return len(self.waiting), self.tokens - sum(p.left for p in self.prefilling)

    def admit(self, blocks: int) -> None:
        """The first waiting request starts prefilling."""
        self.prefilling.append(self.waiting.popleft())
        self.reserved_blocks += blocks

    def computed(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            chunk.prompt.done += chunk.tokens
            chunk.prompt.fresh = chunk.tokens
            self.tokens -= chunk.tokens

    def drafted(self, *, ran: bool) -> None:
        """The draft model took the fresh tokens along, or missed them. Whatever it had missed before stays missed."""
        for prompt in self.prefilling:
            prompt.lag += 0 if ran else prompt.fresh
            prompt.fresh = 0

    def finished(self) -> list[Prompt]:
        """Take out the prompts that are done."""
        done = [p for p in self.prefilling if p.left == 0]
        if done:
            self.prefilling = [p for p in self.prefilling if p.left]
        return done
