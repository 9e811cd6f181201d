"""`python -m benchmarks.soak --minutes 60`: the whole service on a real engine at 80 % of what it can do, for long.

What must hold: every request has an outcome, and the service counted the same; no memory or descriptor grows without
end; greedy answers are token for token what plain decoding wrote at the start, whatever policy is live.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.clients import Clients, arrivals, capacity_rps, clients
from benchmarks.fakes import serving
from benchmarks.pair import ROOT
from benchmarks.provenance import provenance
from benchmarks.soak.load import MODEL, Mix, Tally
from benchmarks.soak.processes import Sample, sample, slopes
from tests.cluster.service import Service

OUT = ROOT / "benchmarks" / "results" / "soak"
SEATS = 8
CAPACITY_S = 30.0
OFF = {"name": "off", "params": {}}
POLICIES: list[dict[str, Any]] = [
    {"name": "slo_goodput", "params": {}},
    {"name": "fixed", "params": {"k": 3}},
    {"name": "adaspec", "params": {}},
    {"name": "nosuch"},  # refused: the one before it goes on
    {"name": "confidence", "params": {"threshold": 0.4}},
    OFF,
]


@dataclass
class Soak:
    """What has been seen so far."""

    options: argparse.Namespace
    service: Service
    mix: Mix
    tally: Tally = field(default_factory=Tally)
    samples: list[Sample] = field(default_factory=list)
    swaps: int = 0
    policy: str = "off"
    rps: float = 0.0
    before: dict[str, float] = field(default_factory=dict)

    async def run(self) -> dict[str, Any]:
        """References, capacity, then the soak itself."""
        async with clients(self.service.url, deadline_s=600) as load:
            self.mix.learn([await load.send(body) for body in self.mix.references()])
            await self._swap(POLICIES[0])
            self.rps = self.options.load * await capacity_rps(load, self.mix.draw, SEATS, self.options.capacity_s)
            load.ended.clear()
            Console().print(f"{self.options.load:.0%} of capacity: {self.rps:.2f} requests/s")
            self.before = await asyncio.to_thread(counters, self.service)
            watch = asyncio.create_task(self._watch(load))
            await arrivals(load, self.mix.draw, self.mix.rng, self.rps, self.options.minutes * 60)
            watch.cancel()
            self._take(load)
            return await self._result()

    async def _watch(self, load: Clients) -> None:
        """Samples, and a new policy now and then."""
        policies, swap_at_s = cycle(POLICIES[1:] + POLICIES[:1]), time.monotonic() + self.options.swap_every_s
        while True:
            self.samples += await asyncio.to_thread(sample, time.monotonic())
            self._take(load)
            if time.monotonic() >= swap_at_s:
                swap_at_s += self.options.swap_every_s
                await self._swap(next(policies))
            await asyncio.sleep(self.options.sample_every_s)

    async def _swap(self, policy: dict[str, Any]) -> None:
        await asyncio.to_thread(self.service.reload, policy=policy)
        self.swaps += 1
        self.policy = policy["name"]

    def _take(self, load: Clients) -> None:
        ended, load.ended = load.ended, []
        self.tally.take(ended, self.mix.known, self.policy)

    async def _result(self) -> dict[str, Any]:
        after = await asyncio.to_thread(counters, self.service)
        counted = {name: after[name] - self.before[name] for name in after}
        counted |= await asyncio.to_thread(left_over, self.service)
        return {
            "minutes": self.options.minutes,
            "offered_rps": self.rps,
            "requests": self.tally.outcomes.total(),
            "outcomes": dict(self.tally.outcomes),
            "service_counted": counted,
            "counts_agree": agree(self.tally, counted),
            "served_short": self.tally.short,
            "greedy_compared": self.tally.compared,
            "greedy_differing": self.tally.differing,
            "swaps": self.swaps,
            "wrong": self.tally.wrong,
            "per_hour": slopes(self.samples),
        }


def counters(service: Service) -> dict[str, float]:
    """The service's own counts: at its door, and in its engine."""
    return {
        "answered_200": service.total("adaspec_responses_total", status="200"),
        "answered_429": service.total("adaspec_responses_total", status="429"),
        "answered_503": service.total("adaspec_responses_total", status="503"),
        "engine_finished": service.total("vllm:request_success_total"),
        "engine_aborted": service.total("vllm:request_success_total", finished_reason="abort"),
        "preemptions": service.total("vllm:num_preemptions_total"),
    }


def left_over(service: Service) -> dict[str, float]:
    """What must be nothing when nobody asks."""
    names = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
    return {name: service.total(f"vllm:{name}") for name in names}


def agree(tally: Tally, counted: dict[str, float]) -> bool:
    """Requests are the sum of their outcomes, and the service counted the same."""
    seen = {f"answered_{status}": tally.statuses[status] for status in (200, 429, 503)}
    served, left = tally.outcomes["served"], tally.outcomes["left"]  # the engine may be done before its client leaves
    return (
        all(counted[name] == count for name, count in seen.items())
        and tally.outcomes.total() == sum(seen.values())
        and served <= counted["engine_finished"] <= served + left
    )


def config(size: str) -> dict[str, Any]:
    """The shipped file with a smaller target."""
    raw = yaml.safe_load((ROOT / "serve_config.yaml").read_text(encoding="utf-8"))
    (application,) = raw["applications"]
    target = ROOT / "models" / "target" if size == "6m" else ROOT / ".models" / f"target-{size}"
    application["args"]["engine"] |= {
        "model": str(target),
        "draft": str(ROOT / "models" / "draft"),
        "served_model_name": MODEL,
        "kv_cache_gib": 0.25,
        "max_num_seqs": SEATS,
    }
    application["args"]["tracing"] = {"exporter": "off"}
    application["deployments"][-1]["user_config"]["policy"] = OFF
    return {"applications": [application]}


def write(result: dict[str, Any], samples: list[Sample], options: argparse.Namespace) -> None:
    """result.json, samples.jsonl and provenance.json."""
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    for name, content in (("result", result), ("provenance", provenance(vars(options)))):
        (out / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    lines = (json.dumps(asdict(s)) + "\n" for s in samples)
    (out / "samples.jsonl").write_text("".join(lines), encoding="utf-8")


def show(result: dict[str, Any]) -> None:
    """The figures, and the growth of every process."""
    table = Table("process", "what", "first", "last", "an hour", "95 %")
    for what, rows in result["per_hour"].items():
        for g in rows:
            low, high = f"{g['low']:+.2f}", f"{g['high']:+.2f}"
            figures = (f"{g['first']:.1f}", f"{g['last']:.1f}", f"{g['per_hour']:+.2f}")
            table.add_row(g["name"], what, *figures, f"{low} .. {high}")
    console = Console(width=140)
    console.print(table)
    console.print({name: value for name, value in result.items() if name != "per_hour"})


def good(result: dict[str, Any]) -> bool:
    """Growth is for a reader to judge; the rest is not a matter of opinion."""
    idle = not any(result["service_counted"][name] for name in ("num_requests_running", "num_requests_waiting"))
    return bool(result["counts_agree"] and idle and not (result["greedy_differing"] or result["wrong"]))


def main() -> int:
    """Exit status 1 if a request was lost or differed, or the counts do not agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--size", choices=("6m", "30m", "270m"), default="30m")
    parser.add_argument("--load", type=float, default=0.8, help="share of the capacity measured first")
    parser.add_argument("--capacity-s", type=float, default=CAPACITY_S)
    parser.add_argument("--swap-every-s", type=float, default=60)
    parser.add_argument("--sample-every-s", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(OUT))
    options = parser.parse_args()
    with serving() as port:
        service = Service(port)
        service.deploy(config(options.size))
        service.ready()
        soak = Soak(options, service, Mix.of(options.seed))
        result = asyncio.run(soak.run())
    write(result, soak.samples, options)
    show(result)
    return 0 if good(result) else 1


if __name__ == "__main__":
    sys.exit(main())
