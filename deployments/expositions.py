"""Several Prometheus expositions as one, told apart by a label."""

from __future__ import annotations

import re
from collections.abc import Mapping

SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{)?")


def join(texts: Mapping[str, str], label: str = "replica") -> str:
    """`texts` by the label's value. Names stay; a family's samples stay together under one HELP and TYPE."""
    families: dict[str, tuple[list[str], list[str]]] = {}
    for value, text in texts.items():
        tag = f'{label}="{value}"'
        family: tuple[list[str], list[str]] = ([], [])
        for line in filter(None, text.split("\n")):
            if line.startswith("# "):
                _, kind, name, *_ = line.split(" ", 3)
                family = families.setdefault(name, ([], []))
                if not any(seen.startswith(f"# {kind} ") for seen in family[0]):
                    family[0].append(line)
            else:
                family[1].append(_labelled(line, tag))
    return "".join(f"{line}\n" for meta, samples in families.values() for line in (*meta, *samples))


def _labelled(sample: str, tag: str) -> str:
    match = SAMPLE.match(sample)
    if match is None:
        raise ValueError(f"not a Prometheus sample: {sample!r}")
    rest = sample[match.end() :]
    return f"{match[1]}{{{tag}{'' if rest.startswith('}') else ','}{rest}" if match[2] else f"{match[1]}{{{tag}}}{rest}"
