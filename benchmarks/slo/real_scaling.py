"""One replica of real vLLM, two, one: the monitor decides, Serve follows, and no answer is lost or changed.

`python -m benchmarks.slo.real_scaling` writes benchmarks/results/slo/real_scaling.json. The 30M target behind the
shipped config, one thread a replica, on two cores; each answer is compared with what one idle replica wrote (greedy,
float32).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2 as httpx
import yaml

from benchmarks.pair import ROOT
from benchmarks.servers import Server, free_port, unbound
from benchmarks.slo.result import write
from deployments.environment import REQUIRED
from tests.cluster.service import Service

SEATS, CLIENTS, PROMPTS, TOKENS = 4, 12, 24, 48
LIMIT_S = 300  # for each change of size
STEADY = 6  # looks in a row
FINISHED = "vllm:request_success_total"
MONITOR = {
    "start_s": 60,
    "scaling": {"min_replicas": 1, "max_replicas": 2, "target_load": 0.75, "down_after_s": 20},
}
AUTOSCALING = {
    "min_replicas": 1,
    "max_replicas": 2,
    "upscale_delay_s": 0,
    "downscale_delay_s": 0,
    "metrics_interval_s": 1,
    "look_back_period_s": 3,
    "policy": {"policy_function": "deployments.autoscaling:follow"},
}


def config(port: int) -> dict[str, Any]:
    """The shipped file with a small target, one thread a replica and room for two."""
    raw: dict[str, Any] = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    raw["http_options"]["port"] = port
    application = raw["applications"][0]
    application["args"]["engine"] |= {
        "model": str(ROOT / ".models/target-30m"),
        "draft": str(ROOT / "models/draft"),
        "served_model_name": "demo",
        "kv_cache_gib": 0.25,
        "max_num_seqs": SEATS,
        "env": unbound(1),
    }
    ingress, monitor, replica = application["deployments"]
    ingress["user_config"]["classes"] = [{"name": "default"}]  # no seats kept free for another class
    monitor["user_config"] |= MONITOR
    del replica["num_replicas"]
    replica |= {"autoscaling_config": AUTOSCALING, "ray_actor_options": {"num_cpus": 0.5}}
    return raw


class Client:
    """Asks for the same prompts over and over."""

    def __init__(self, port: int) -> None:
        self.service = Service(port)
        self._http = httpx.Client(base_url=self.service.http.base_url, timeout=300)
        lines = (ROOT / "models" / "heldout.jsonl").read_text().splitlines()
        self.prompts = [str(json.loads(line)["prompt"])[-300:] for line in lines[:PROMPTS]]

    def ask(self, i: int) -> str:
        """The text of a stream that ended as it should, else what went wrong; waits where it is told to."""
        body = {"model": "demo", "prompt": self.prompts[i % PROMPTS], "max_tokens": TOKENS, "temperature": 0}
        answer = self._http.post("/v1/completions", json=body | {"ignore_eos": True, "stream": True})
        if answer.status_code in (429, 503) and "retry-after" in answer.headers:
            time.sleep(float(answer.headers["retry-after"]))
            return "refused"
        text = answer.text
        events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
        if not events or events[-1] != "[DONE]":
            return f"lost: {text[-200:]}"
        return "".join(c["text"] for event in events[:-1] for c in json.loads(event)["choices"])

    def wanted(self) -> int:
        """Replicas the load monitor wants; 0 where it does not say."""
        answer = self.service.http.get("/v1/slo")
        return int(answer.json().get("desired_replicas") or 0) if answer.status_code == 200 else 0


@contextmanager
def loaded(client: Client, texts: list[tuple[int, str]]) -> Iterator[None]:
    """CLIENTS requests at any time inside the block; every answer ends up in `texts`."""
    stop = False

    def loop(first: int) -> None:
        i = first
        while not stop:
            texts.append((i % PROMPTS, client.ask(i)))
            i += CLIENTS

    with ThreadPoolExecutor(CLIENTS) as pool:
        loops: list[Future[None]] = [pool.submit(loop, i) for i in range(CLIENTS)]
        try:
            yield
        finally:
            stop = True
    for done in loops:
        done.result()


@dataclass
class Watch:
    """How many replicas report, every half second, and whom the load monitor wants."""

    client: Client
    began_s: float = field(default_factory=time.monotonic)
    seen: list[tuple[float, int, int]] = field(default_factory=list)  # s, replicas, wanted

    def until(self, replicas: int) -> float:
        """Seconds since the start at which so many reported and went on to for three seconds."""
        give_up_s = time.monotonic() + LIMIT_S
        while len(self.seen) < STEADY or {n for _, n, _ in self.seen[-STEADY:]} != {replicas}:
            if time.monotonic() > give_up_s:
                raise RuntimeError(f"not {replicas} replicas within {LIMIT_S} s: {self.changes()}")
            self.look()
        return self.seen[-STEADY][0]

    def look(self) -> None:
        time.sleep(0.5)
        now_s = round(time.monotonic() - self.began_s, 1)
        self.seen.append((now_s, len(self.client.service.replicas()), self.client.wanted()))

    def changes(self) -> list[tuple[float, int, int]]:
        """When either number was another than before."""
        before = [(0.0, -1, -1), *self.seen]
        return [now for then, now in zip(before, self.seen, strict=False) if then[1:] != now[1:]]


def experiment(client: Client) -> dict[str, Any]:
    """Idle references, load until both replicas served, quiet until one is left, and an answer of that one."""
    expected = [client.ask(i) for i in range(PROMPTS)]
    texts: list[tuple[int, str]] = []
    watch = Watch(client)
    with loaded(client, texts):
        up_s = watch.until(2)
        at_two, before = len(texts), client.service.samples(FINISHED)
        for _ in range(80):
            watch.look()
        served = {name: n - before.get(name, 0) for name, n in client.service.samples(FINISHED).items()}
    load_ended_s = time.monotonic() - watch.began_s
    down_s = watch.until(1)
    texts.append((0, client.ask(0)))
    wrong = [text for i, text in texts if text != expected[i]]
    return {
        "to_two_s": up_s,
        "load_ended_s": round(load_ended_s, 1),
        "to_one_s": down_s,
        "at_s, replicas, wanted": watch.changes(),
        "answers": len(texts),
        "answers_before_two": at_two,
        "finished_while_two": served,
        "refused": wrong.count("refused"),
        "lost": sum(text.startswith("lost: ") for text in wrong),
        "different": sum(not text.startswith(("lost: ", "refused")) for text in wrong),
        "examples": wrong[:3],
    }


def main() -> None:
    """Starts the service and runs the experiment once."""
    with TemporaryDirectory() as folder:
        port = free_port()
        file = Path(folder) / "config.yaml"
        file.write_text(yaml.safe_dump(config(port)))
        server = Server(["serve", "run", str(file)], port, "demo", REQUIRED | {"RAY_ADDRESS": "local"})
        with server, server.awake():
            result = experiment(Client(port))
    write("real_scaling", result, {"monitor": MONITOR, "seats": SEATS, "clients": CLIENTS, "tokens": TOKENS})


if __name__ == "__main__":
    main()
