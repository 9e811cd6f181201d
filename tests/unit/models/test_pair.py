import hashlib
import json
import platform
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

MODELS = Path(__file__).parents[3] / "models"
MAX_BYTES = 60_000_000


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(MODELS / "target")


@pytest.fixture(scope="module")
def prompts() -> list[dict[str, str]]:
    return [json.loads(line) for line in (MODELS / "heldout.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_room_stays_small() -> None:
    assert sum(p.stat().st_size for p in MODELS.rglob("*") if p.is_file() and "__pycache__" not in p.parts) <= MAX_BYTES


def test_the_pair_shares_one_tokenizer() -> None:
    one, two = ((MODELS / name / "tokenizer.json").read_bytes() for name in ("target", "draft"))
    assert one == two


@pytest.mark.parametrize("name", ["target", "draft"])
def test_configuration_fits_the_tokenizer(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    config = AutoConfig.from_pretrained(MODELS / name)
    assert config.vocab_size == len(tokenizer) == 4096
    assert (config.eos_token_id, config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert config.max_position_embeddings == tokenizer.model_max_length == 2048


@pytest.mark.parametrize(
    "text", ["def f(x: int) -> str:\n\treturn f'{x:>08}'\n", "naïve – 东京 \U0001f600\r\n", "   \n\n  "]
)
def test_tokenizer_round_trip(text: str, tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_chat_template_is_the_messages_text(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = [{"role": "system", "content": "import os"}, {"role": "user", "content": "def main():"}]
    assert (
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == "import os\ndef main():"
    )


def test_heldout_prompts_are_complete(prompts: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase) -> None:
    assert len({row["id"] for row in prompts}) == len(prompts) >= 250
    assert {row["domain"] for row in prompts} == {"library", "third_party", "prose"}
    assert all(100 <= len(tokenizer.encode(row["prompt"])) <= 300 and row["continuation"] for row in prompts)


def test_heldout_documents_were_not_trained_on(prompts: list[dict[str, str]]) -> None:
    corpus = json.loads((MODELS / "corpus.json").read_text(encoding="utf-8"))
    train = set(corpus["train_sha256_16"])
    heldout = corpus["heldout_sha256_16"]
    assert len(train) > 10_000
    assert train.isdisjoint(heldout.values())
    assert {row["id"].rsplit(":", 1)[0] for row in prompts} <= set(heldout)


def test_heldout_prompts_are_cut_from_the_recorded_documents(prompts: list[dict[str, str]]) -> None:
    """Where the standard library is the recorded version, the file has the recorded hash and holds the prompt."""
    corpus = json.loads((MODELS / "corpus.json").read_text(encoding="utf-8"))
    checked = 0
    for row in prompts:
        _, package, path, _ = row["id"].split(":")
        file = Path(json.__file__).parents[1] / path
        if package == "python" and file.is_file():
            text = file.read_text(encoding="utf-8")
            if hashlib.sha256(text.encode()).hexdigest()[:16] == corpus["heldout_sha256_16"][f"library:python:{path}"]:
                assert row["prompt"] in text
                checked += 1
    if corpus["python"] == platform.python_version():
        assert checked >= 50
