"""Runs shapes on the real engine: the service's own vLLM, worker, scheduler and executor."""

from __future__ import annotations

import itertools
import json
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm import SamplingParams
from vllm.engine.arg_utils import EngineArgs
from vllm.v1.engine.llm_engine import LLMEngine

from deployments.profile.design import PROMPT_TOKENS, Limits, Run
from deployments.profile.probe import PROBE
from deployments.profile.tried import Tried
from deployments.settings import VllmEngine
from deployments.vllm_backend import arguments, environment

UNHURRIED_MS = 10_000.0  # a busy machine must not make the guard set the probe aside


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run recorded: `steps` rows are `probe.COLUMNS`."""

    run: Run
    steps: list[list[float]]
    tried: list[Tried]


class Texts:
    """Held-out text by domain, as token ids without end."""

    def __init__(self, file: Path, encode: Any) -> None:
        tokens: dict[str, list[int]] = defaultdict(list)
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            tokens[row["domain"]] += encode(row["prompt"])
        self._tokens = dict(tokens)
        self._domains = itertools.cycle(sorted(tokens))
        self._at = dict.fromkeys(tokens, 0)

    def take(self, length: int) -> tuple[str, list[int]]:
        """The next domain and its next `length` tokens."""
        domain = next(self._domains)
        tokens, start = self._tokens[domain], self._at[domain]
        self._at[domain] = (start + length) % len(tokens)
        return domain, [tokens[(start + i) % len(tokens)] for i in range(length)]


class Bench:
    """One engine. `close` ends its processes."""

    def __init__(self, engine: VllmEngine, texts: Path) -> None:
        """Takes as long as a replica takes to start. `engine` is known to be loadable."""
        os.environ.update(environment(engine))
        args = arguments(engine)
        args.additional_config["adaspec"] |= {"soft_limit_ms": UNHURRIED_MS, "hard_limit_ms": UNHURRIED_MS}
        self._engine = LLMEngine.from_engine_args(EngineArgs.from_cli_args(args), enable_multiprocessing=True)
        self._texts = Texts(texts, self._engine.get_tokenizer().encode)
        self._names = itertools.count()
        config = self._engine.vllm_config
        self.limits = Limits(
            k_max=engine.k_max,
            max_batch=engine.max_num_seqs,
            max_model_len=config.model_config.max_model_len,
            kv_tokens=config.cache_config.num_gpu_blocks * config.cache_config.block_size,
        )

    def run(self, run: Run) -> Measured:
        """Fill the batch, decode `run.steps` steps with all of it, and take the record."""
        self._rpc("set_policy", PROBE, {"lengths": list(run.lengths)})
        most = self.limits.max_model_len - run.context_tokens - 1
        seated = [self._add(run.context_tokens, most, run.temperature) for _ in range(run.batch)]
        started = self._until_started(set(seated))
        for step in range(run.steps if started else 0):
            if run.join_every and step % run.join_every == 0:
                self._add(PROMPT_TOKENS, 1, run.temperature)
            self._engine.step()
        record = self._rpc("exchange")["policy_state"]
        self._drain()
        tried = [Tried(name.split("/")[0], slot, *rest) for name, slot, *rest in record["tried"]]
        return Measured(run, record["steps"], tried)

    def close(self) -> None:
        self._engine.engine_core.shutdown()

    def _until_started(self, waiting: set[str]) -> bool:
        """Every request has its first token; False if one ended before."""
        while waiting:
            for output in self._engine.step():
                waiting.discard(output.request_id)
            if not self._engine.has_unfinished_requests():
                return False
        return True

    def _add(self, prompt_tokens: int, max_tokens: int, temperature: float) -> str:
        domain, tokens = self._texts.take(prompt_tokens)
        params = SamplingParams(temperature=temperature, max_tokens=max_tokens, ignore_eos=True, detokenize=False)
        name = f"{domain}/{next(self._names)}"
        self._engine.add_request(name, {"prompt_token_ids": tokens}, params)
        return name

    def _drain(self) -> None:
        self._engine.abort_request(list(self._engine.output_processor.request_states), internal=True)
        while self._engine.has_unfinished_requests():
            self._engine.step()

    def _rpc(self, method: str, *args: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._engine.collective_rpc(method, args=args)[0]
        return answer
