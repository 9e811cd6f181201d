from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader

from deployments.observe.meters import Meters
from deployments.observe.outcomes import TPOT_S, Outcome, Outcomes
from deployments.settings import Tracing


def points(reader: InMemoryMetricReader) -> dict[str, HistogramDataPoint]:
    data = reader.get_metrics_data()
    assert data is not None
    metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
    found = {m.name: point for m in metrics for point in m.data.data_points}
    return {name: point for name, point in found.items() if isinstance(point, HistogramDataPoint)}


def test_the_conventions_histograms_with_their_buckets() -> None:
    reader = InMemoryMetricReader()
    outcomes = Outcomes()
    outcomes.tell(Meters(Tracing(), reader).record)
    outcomes.finished(Outcome("chat", 0.1, None, 0.3, 1, ttft_attained=True, tpot_attained=True))
    outcomes.finished(Outcome("chat", 0.1, 0.02, 0.3, 9, ttft_attained=True, tpot_attained=True))
    found = points(reader)
    assert {name: point.count for name, point in found.items()} == {
        "gen_ai.server.request.duration": 2,
        "gen_ai.server.time_to_first_token": 2,
        "gen_ai.server.time_per_output_token": 1,
    }
    tpot = found["gen_ai.server.time_per_output_token"]
    assert tuple(tpot.explicit_bounds) == TPOT_S
    assert tpot.attributes is not None
    assert tpot.attributes["adaspec.slo_class"] == "chat"
