"""One engine of a paired benchmark, in a process group of its own so that it can be stopped while the other runs.

Reads one JSON command a line on standard input, writes one JSON answer a line on standard output.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams

from benchmarks.pair import PROMPT_TOKENS, WARM_STEPS


class Arm:
    """An engine and the prompts it decodes."""

    def __init__(self, options: dict[str, Any], prompts: Path) -> None:
        self.llm = LLM(**options)
        tokenizer = self.llm.get_tokenizer()
        texts = [json.loads(line)["prompt"] for line in prompts.read_text(encoding="utf-8").splitlines()]
        ids = [tokenizer.encode(text)[-PROMPT_TOKENS:] for text in texts]
        self.prompts = [tokens for tokens in ids if len(tokens) == PROMPT_TOKENS]
        self.used = 0

    def block(
        self, batch: int, steps: int, first: int, policy: dict[str, Any] | None, temperature: float
    ) -> dict[str, Any]:
        """Decode `batch` requests for `steps` steps: step wall periods in seconds and tokens emitted by them."""
        if policy is not None:
            self._set_policy(policy)
        engine = self.llm.llm_engine
        done = self._start(batch, first, temperature)
        while min(done.values()) < WARM_STEPS:
            self._step(done)
        before = self._report() if policy is not None else {}
        at, emitted = time.perf_counter(), sum(done.values())
        periods = []
        for _ in range(steps):
            self._step(done)
            now = time.perf_counter()
            periods.append(now - at)
            at = now
        tokens = sum(done.values()) - emitted
        after = self._report() if policy is not None else {}
        engine.abort_request(list(done))
        while engine.has_unfinished_requests():
            engine.step()
        return {"periods_s": periods, "tokens": tokens, "before": before, "after": after}

    def _start(self, batch: int, first: int, temperature: float) -> dict[str, int]:
        params = SamplingParams(temperature=temperature, max_tokens=1900, ignore_eos=True, detokenize=False)
        ids = {}
        for i in range(batch):
            self.used += 1
            name = f"r{self.used}"
            prompt = {"prompt_token_ids": self.prompts[(first + i) % len(self.prompts)]}
            self.llm.llm_engine.add_request(name, prompt, params)
            ids[name] = 0
        return ids

    def _step(self, done: dict[str, int]) -> None:
        for output in self.llm.llm_engine.step():
            key = output.request_id if output.request_id in done else output.request_id.rsplit("-", 1)[0]
            done[key] = len(output.outputs[0].token_ids)

    def _set_policy(self, policy: dict[str, Any]) -> None:
        (answer,) = self.llm.collective_rpc("set_policy", args=(policy["name"], policy.get("params", {})))
        if not answer["ok"]:
            raise ValueError(answer["error"])

    def _report(self) -> dict[str, Any]:
        report: dict[str, Any] = self.llm.collective_rpc("exchange")[0]
        return report


def main() -> None:
    """Serve commands until standard input closes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library or a child process prints must not look like an answer
    setup = json.loads(sys.argv[1])
    arm = Arm(setup["options"], Path(setup["prompts"]))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(arm.block(**json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
