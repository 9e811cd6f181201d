"""The tuning page names every policy, only parameters that exist, and only metrics that exist."""

import re
from pathlib import Path

import pytest

from deployments.observe.speculation import exposition
from policies.registry import CONTROLLERS, _find

TEXT = (Path(__file__).parents[4] / "docs/tuning.md").read_text()
TABLE = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", TEXT, flags=re.MULTILINE))


def test_every_policy_has_its_row() -> None:
    assert set(TABLE) == set(CONTROLLERS)


@pytest.mark.parametrize("name", sorted(CONTROLLERS))
def test_its_parameters_exist(name: str) -> None:
    named = {word.split(":")[0] for word in re.findall(r"`([a-z_]+(?:: \w+)?)`", TABLE[name])} - set(CONTROLLERS)
    assert named <= set(_find(name).Params.model_fields)  # type: ignore[union-attr]  # every shipped one is a class


def test_speculation_metrics_it_names_exist() -> None:
    known = set(re.findall(r"^(adaspec_\w+)", exposition(None, 3), flags=re.MULTILINE))
    named = {
        n
        for n in re.findall(r"adaspec_\w+", TEXT)
        if not n.startswith(("adaspec_slo", "adaspec_door", "adaspec_replica_spans", "adaspec_ingress_spans"))
    }
    assert named <= known
