"""How much later than predicted first tokens come: kept back from what a request may wait."""

from __future__ import annotations

from dataclasses import dataclass

GAIN = 0.1
DEVIATIONS = 2.0
MOST_SHARE = 0.5  # of an objective: beyond that the prediction, not the request, is at fault


@dataclass(frozen=True, slots=True)
class Margin:
    """Running mean and mean deviation of measured minus predicted TTFT, as TCP keeps its round-trip time (RFC 6298)."""

    mean_s: float = 0.0
    deviation_s: float = 0.0

    def seen(self, predicted_s: float, measured_s: float) -> Margin:
        error_s = measured_s - predicted_s - self.mean_s
        return Margin(self.mean_s + GAIN * error_s, self.deviation_s + GAIN * (abs(error_s) - self.deviation_s))

    def of(self, ttft_slo_s: float) -> float:
        """Seconds to keep back from this objective."""
        return min(max(0.0, self.mean_s + DEVIATIONS * self.deviation_s), MOST_SHARE * ttft_slo_s)
