"""A small evaluator for the part of PromQL the alert rules use, over series kept in memory.

Grammar: comparisons joined by `and`; + - * /; abs(), rate(), increase(), sum by (labels) (); selectors with = matchers.
`rate` is (last - first) / range without extrapolation, so tests give samples at both ends of their ranges. NaN compares
as false. Where promtool is installed, `test_alerts.py` checks the same rules with it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Series = Mapping[tuple[str, Labels], list[tuple[float, float]]]
"""(name, labels) -> (time, value), rising times in seconds."""

TOKEN = re.compile(r'\s*([a-zA-Z_:][\w:]*|\d+(?:\.\d+)?|"[^"]*"|==|>=|<=|[-+*/<>(){}\[\],=])')
UNITS = {"s": 1, "m": 60, "h": 3600}
COMPARE: dict[str, Callable[[float, float], bool]] = {"<": operator.lt, ">": operator.gt, "==": operator.eq}
PRODUCT: dict[str, Callable[[float, float], float]] = {"*": operator.mul, "/": operator.truediv}
SUM: dict[str, Callable[[float, float], float]] = {"+": operator.add, "-": operator.sub}


def metrics(expression: str) -> set[str]:
    """Names of the metrics an expression reads."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|(by|without|on|ignoring|group_left) *\([^)]*\)", "", expression)
    return set(re.findall(r"\b(?:adaspec|vllm|gen_ai)[\w:]*", bare))


@dataclass
class Evaluator:
    """One expression at one time."""

    text: str
    series: Series
    at_s: float

    def __post_init__(self) -> None:
        self._words = TOKEN.findall(self.text)
        self._i = 0

    def run(self) -> Vector:
        found = self._both()
        assert self._i == len(self._words), f"not understood from {self._words[self._i :]}"
        assert isinstance(found, dict)
        return found

    def _next(self, expected: str | None = None) -> str:
        word = str(self._words[self._i])
        assert expected in (None, word), f"{word!r} where {expected!r} is expected"
        self._i += 1
        return word

    def _see(self) -> str:
        return str(self._words[self._i]) if self._i < len(self._words) else ""

    def _both(self) -> Vector | float:
        left = self._comparison()
        while self._see() == "and":
            self._next()
            right = self._comparison()
            assert isinstance(left, dict)
            assert isinstance(right, dict)
            left = {labels: value for labels, value in left.items() if labels in right}
        return left

    def _comparison(self) -> Vector | float:
        left = self._chain(SUM, lambda: self._chain(PRODUCT, self._atom))
        if self._see() not in COMPARE:
            return left
        compare = COMPARE[self._next()]
        right = self._atom()
        assert isinstance(left, dict)
        assert isinstance(right, float)
        return {labels: value for labels, value in left.items() if compare(value, right)}

    def _chain(
        self, operators: Mapping[str, Callable[[float, float], float]], part: Callable[[], Vector | float]
    ) -> Vector | float:
        left = part()
        while self._see() in operators:
            left = _joined(operators[self._next()], left, part())
        return left

    def _atom(self) -> Vector | float:
        word = self._next()
        if word[0].isdigit():
            return float(word)
        if word == "abs":
            self._next("(")
            inner = self._both()
            self._next(")")
            assert isinstance(inner, dict)
            return {labels: abs(value) for labels, value in inner.items()}
        if word == "sum":
            return self._sum()
        if word in ("rate", "increase"):
            return self._increase(per_second=word == "rate")
        return {labels: points[-1][1] for labels, points in self._select(word, None).items()}

    def _sum(self) -> Vector:
        by: list[str] = []
        self._next("by")
        self._next("(")
        while (word := self._next()) != ")":
            by += [] if word == "," else [word]
        self._next("(")
        inner = self._both()
        self._next(")")
        assert isinstance(inner, dict)
        total: Vector = {}
        for labels, value in inner.items():
            kept = frozenset((name, label) for name, label in labels if name in by)
            total[kept] = total.get(kept, 0.0) + value
        return total

    def _increase(self, *, per_second: bool) -> Vector:
        self._next("(")
        name = self._next()
        matchers = self._matchers()
        self._next("[")
        number, unit = self._next(), self._next()
        self._next("]")
        self._next(")")
        range_s = float(number) * UNITS[unit]
        found = {
            labels: points[-1][1] - points[0][1]
            for labels, points in self._select(name, matchers, range_s).items()
            if len(points) > 1
        }
        return {labels: value / range_s for labels, value in found.items()} if per_second else found

    def _matchers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        if self._see() == "{":
            self._next()
            while (word := self._next()) != "}":
                if word != ",":
                    self._next("=")
                    found[word] = self._next().strip('"')
        return found

    def _select(
        self, name: str, matchers: dict[str, str] | None, range_s: float = 300
    ) -> dict[Labels, list[tuple[float, float]]]:
        wanted = (self._matchers() if matchers is None else matchers).items()
        found = {}
        for (metric, labels), points in self.series.items():
            inside = [p for p in points if self.at_s - range_s <= p[0] <= self.at_s]
            if metric == name and wanted <= dict(labels).items() and inside:
                found[labels] = inside
        return found


def _joined(of: Callable[[float, float], float], left: Vector | float, right: Vector | float) -> Vector | float:
    if isinstance(left, float):
        assert isinstance(right, float)
        return of(left, right)
    if isinstance(right, float):
        return {labels: of(value, right) for labels, value in left.items()}
    return {k: of(v, right[k]) if right[k] else float("nan") for k, v in left.items() if k in right}
