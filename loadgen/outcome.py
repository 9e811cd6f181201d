"""What became of one request, by the client's own clock."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from loadgen.schedule import Planned

UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Times are seconds since the run's start; `at_s` is the intended start, `sent_s` when sending began."""

    id: int
    slo_class: str
    at_s: float
    sent_s: float | None = None
    chunks_s: tuple[float, ...] = ()  # arrival of each piece that carried text
    end_s: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int = 0
    counted: str = "usage"  # or "pieces": the server sent no usage, so tokens are pieces of text
    status: int = 0
    error: str | None = None

    @property
    def first_s(self) -> float | None:
        return self.chunks_s[0] if self.chunks_s else None

    def to_json(self) -> dict[str, Any]:
        """Microseconds are enough."""
        row = asdict(self)
        row["chunks_s"] = [round(t, 6) for t in self.chunks_s]
        return row

    @classmethod
    def of_json(cls, row: dict[str, Any]) -> Outcome:
        return cls(**(row | {"chunks_s": tuple(row["chunks_s"])}))


def unfinished(request: Planned, at_s: float, sent_s: float | None = None) -> Outcome:
    """A request whose end nobody saw."""
    return Outcome(request.id, request.slo_class, at_s, sent_s, error=UNFINISHED)
