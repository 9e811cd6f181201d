import re
from pathlib import Path

import pytest
import yaml

from deployments.settings import AppArgs

ROOT = Path(__file__).parents[3]
PAIRS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/models.md").read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("text", PAIRS)
def test_every_documented_pair_is_a_valid_engine(text: str) -> None:
    assert AppArgs.model_validate(yaml.safe_load(text)).engine.kind == "vllm"


def test_there_are_documented_pairs() -> None:
    assert len(PAIRS) == 2


def test_the_map_has_every_module_of_the_service() -> None:
    text = (ROOT / "docs/structures.md").read_text()
    modules = [path.name for path in (ROOT / "deployments").glob("*.py") if path.name != "__init__.py"]
    assert [name for name in modules if f"`{name}`" not in text] == []
