"""A draft token that was put to the test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tried:
    """Verified, and every token before it in its draft was accepted."""

    domain: str
    slot: int  # 0-based position in the draft
    confidence: float  # the draft's largest probability
    accepted: bool
