"""How a replica's step period grows with its batch, from reports: an exponentially weighted line."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class StepTrend:
    """Weighted moments of (batch, step period)."""

    weight: float = 0.0
    batch: float = 0.0
    step_s: float = 0.0
    batch_batch: float = 0.0
    batch_step: float = 0.0

    def seen(self, batch: float, step_s: float, keep: float = 0.98) -> StepTrend:
        """With one more report in it; older ones weigh `keep` less."""
        return replace(
            self,
            weight=keep * self.weight + 1,
            batch=keep * self.batch + batch,
            step_s=keep * self.step_s + step_s,
            batch_batch=keep * self.batch_batch + batch * batch,
            batch_step=keep * self.batch_step + batch * step_s,
        )

    @property
    def per_request_s(self) -> float:
        """Slope of the line, never negative. With one batch size seen: its whole step spread over that batch."""
        spread = self.weight * self.batch_batch - self.batch * self.batch
        if spread <= 1e-9 * max(self.weight, 1.0) ** 2:
            return self.step_s / self.batch if self.batch > 0 else 0.0
        return max(0.0, (self.weight * self.batch_step - self.batch * self.step_s) / spread)

    def at(self, batch: float) -> float:
        """Predicted step period, seconds."""
        if self.weight == 0:
            return 0.0
        mean_batch, mean_s = self.batch / self.weight, self.step_s / self.weight
        return max(0.0, mean_s + self.per_request_s * (batch - mean_batch))

    def batch_limit(self, step_s: float, most: float) -> float:
        """The largest batch, up to `most`, whose step stays within `step_s`; at least 1."""
        slope = self.per_request_s
        if slope == 0:
            return most
        return min(max(1.0, (step_s - self.at(0.0)) / slope), most)
