"""What a command says when it refuses."""

from __future__ import annotations

import math
import reprlib
from argparse import ArgumentTypeError
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from loadgen.sim.settings import Settings


def complain(message: str) -> None:
    """On stderr, unbroken: a line folded at the terminal's width cannot be searched for, nor a path in it copied."""
    Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)


def reason(error: Exception) -> str:
    """The error's text; of a scenario that is not valid: field, value and fix, a line each."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "\n".join(_line(e) for e in error.errors(include_url=False))


def _line(error: Any) -> str:
    field = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{field or '(all)'}: {reprlib.repr(error['input'])} refused: {error['msg']}"
    near = get_close_matches(str(error["loc"][-1]), _names(Settings), n=1)
    return f"{field}: no such field{f'; did you mean {near[0]}?' if near else ''}"


def _names(kind: type[Settings]) -> list[str]:
    """Every field a scenario may have."""
    return [*kind.model_fields, *(name for part in kind.__subclasses__() for name in _names(part))]


def positive(text: str) -> float:
    """A number above 0, of a command line."""
    value = float(text)
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"{text}: a number above 0 is needed")
    return value


def counted(text: str) -> int:
    """A whole number from 1 on, of a command line."""
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f"{text}: a whole number from 1 on is needed")
    return value


def share(text: str) -> float:
    """A number above 0 and at most 1, of a command line."""
    value = positive(text)
    if value > 1:
        raise ArgumentTypeError(f"{text}: a share above 0 and at most 1 is needed, as .9 for 90 %")
    return value
