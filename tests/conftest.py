"""Every test belongs to the layer its folder names; layers run from the cheapest to the dearest."""

from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent
LAYERS = ("unit", "local", "cluster", "engine", "faults")


settings.register_profile("busy", deadline=None)  # where other jobs take the cores, time says nothing about the code
settings.load_profile("busy")


def layer_of(path: Path) -> str:
    """The layer of a test file; a file outside every layer would escape `-m`, so it is an error."""
    layer = path.relative_to(TESTS).parts[0]
    if layer not in LAYERS:
        raise pytest.UsageError(f"{path}: tests live in one of tests/{{{','.join(LAYERS)}}}/")
    return layer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its layer and put the layers in order (stable within a layer)."""
    for item in items:
        item.add_marker(layer_of(item.path))
    items.sort(key=lambda item: LAYERS.index(layer_of(item.path)))
