"""The share of requests that met their objectives lately."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """Finished and attained, older ones weighing less."""

    finished: float = 0.0
    attained: float = 0.0

    @property
    def value(self) -> float | None:
        """None: nothing finished lately."""
        return min(1.0, self.attained / self.finished) if self.finished > 0.1 else None

    def later(self, dt_s: float, memory_s: float, finished: int = 0, attained: int = 0) -> Share:
        """After `dt_s` seconds in which so many finished."""
        keep = math.exp(-max(dt_s, 0.0) / memory_s)
        return Share(keep * self.finished + finished, keep * self.attained + attained)


def worst(shares: Mapping[str, Share]) -> float | None:
    """Attainment of the class that does worst; None: nothing finished lately."""
    known = [share.value for share in shares.values()]
    return min((value for value in known if value is not None), default=None)
