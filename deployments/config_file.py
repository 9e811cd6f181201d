"""A config file as data that Serve can carry, or the one reason why it is not."""

from __future__ import annotations

import math
import reprlib
from pathlib import Path
from typing import Any

import yaml

from deployments.problems import Problem

MOST_VALUES = 10_000
MOST_BITS = 1024  # a hexadecimal integer may have more digits than Python writes
FIX = "give a string, a finite number, a boolean, a list or a mapping"


def read(file: Path) -> Any:
    """The file's data, or the Problem that kept it from being read."""
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        return _unreadable(file, str(error.strerror))
    except UnicodeDecodeError as error:
        return _unreadable(file, f"not UTF-8: byte {error.start} is {error.object[error.start]:#x}")
    except RecursionError:
        return _unreadable(file, "nested too deep")
    except yaml.MarkedYAMLError as error:
        return _unreadable(file, f"not YAML: {error.problem}{_place(error.problem_mark)}")
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        # the last four: PyYAML on a number, date or tag that it recognises but cannot convert
        return _unreadable(file, f"not YAML: {' '.join(str(error).split())}")


def not_plain(raw: Any) -> Problem | None:
    """The first value that JSON, in which Serve carries the file, cannot hold: dates, NaN, a list that holds itself."""
    todo = [("", raw)]
    for _ in range(MOST_VALUES):
        if not todo:
            return None
        at, value = todo.pop()
        if isinstance(value, dict):
            odd = [key for key in value if key == "" or not (isinstance(key, str | int) and _in_json(key))]
            if odd:
                return Problem(field=at or "(all)", value=_shown(odd[0]), fix="this key must be text; put it in quotes")
            todo += [(joined(at, key), of) for key, of in value.items()]
        elif isinstance(value, list):
            todo += [(joined(at, i), of) for i, of in enumerate(value)]
        elif not _in_json(value):
            return Problem(field=at or "(all)", value=_shown(value), fix=FIX)
    fix = f"the file must hold at most {MOST_VALUES:,} values; does an anchor (&) hold an alias (*) of itself?"
    return Problem(field="(all)", value=f"more than {MOST_VALUES:,} values", fix=fix)


def _in_json(value: Any) -> bool:
    if isinstance(value, int):
        return value.bit_length() <= MOST_BITS
    return value is None or isinstance(value, str) or (isinstance(value, float) and math.isfinite(value))


def _shown(value: Any) -> str:
    return f"an integer of {value.bit_length()} bits" if isinstance(value, int) else reprlib.repr(value)


def joined(at: str, key: str | int) -> str:
    """The path of a key below `at`."""
    return f"{at}.{key}" if at else str(key)


def _unreadable(file: Path, fix: str) -> Problem:
    return Problem(field="(file)", value=str(file), fix=fix)


def _place(mark: yaml.Mark | None) -> str:
    return "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
