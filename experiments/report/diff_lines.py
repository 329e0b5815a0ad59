"""What differs between two chips, servers, studies or saved runs: in parameters and in results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hardwire.models.brief import one_line
from hardwire.models.errors import InputError

SAME = 1e-9
"""Results are the same number where they differ by less, relative to themselves."""


@dataclass(frozen=True)
class Value:
    """A parameter or a result of one side.

    Attributes
    ----------
    value : a number, a truth, a word, or None for what is infinite or not defined.
    unit, meaning : empty where there is none.
    kind : where a parameter comes from; empty of a result.
    range : of a parameter as its file states it; of a result its 90 % interval.
    headline : shown beside the other side's also where both are the same.
    """

    value: Any
    unit: str = ""
    meaning: str = ""
    kind: str = ""
    range: tuple[float, float] | None = None
    headline: bool = False

    @property
    def number(self) -> float | None:
        """The value, where it is a number."""
        is_number = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        return float(self.value) if is_number else None


Values = Mapping[str, Value]


@dataclass(frozen=True)
class Side:
    """One of two things, taken apart.

    Attributes
    ----------
    kind : what it is: two sides are compared where they are of one kind.
    name : of it, for the head of a column.
    parameters, results : by heading, and there by name.
    obstacles : what stands in its way, a sentence each.
    """

    kind: str
    name: str
    parameters: Mapping[str, Values] = field(default_factory=dict)
    results: Mapping[str, Values] = field(default_factory=dict)
    obstacles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A name that differs; a side that has it not is None.

    Attributes
    ----------
    interval : the 90 % interval of the change, where what is not known is drawn once for both.
    """

    name: str
    a: Value | None
    b: Value | None
    interval: tuple[float, float] | None = None

    @property
    def of(self) -> Value:
        """The side that has it: its unit and meaning are those of both."""
        one = self.a or self.b
        assert one is not None
        return one

    @property
    def change(self) -> float | None:
        """B over A, less one; None where there is no such number."""
        if self.a is None or self.b is None:
            return None
        before, after = self.a.number, self.b.number
        if before is None or after is None or not before or not math.isfinite(before * after):
            return None
        return after / before - 1

    @property
    def differs(self) -> bool:
        """Whether the values differ; not whether their ranges do."""
        return self.a is None or self.b is None or not _alike(self.a.value, self.b.value)

    def to_dict(self) -> dict[str, Any]:
        """The line as plain values."""

        def side(one: Value | None) -> dict[str, Any] | None:
            if one is None:
                return None
            ends = None if one.range is None else list(one.range)
            if not one.kind:
                return {"value": one.value, "interval": ends}
            return {"value": one.value, "kind": one.kind, "range": ends}

        found: dict[str, Any] = {
            "name": self.name,
            "unit": self.of.unit,
            "a": side(self.a),
            "b": side(self.b),
            "change": self.change,
        }
        if self.interval is not None:
            found["change_interval"] = list(self.interval)
        return found


@dataclass(frozen=True)
class Part:
    """Lines below one heading.

    Attributes
    ----------
    equal : names that are the same on both sides and not shown.
    only : the side that alone has such a heading, ``a`` or ``b``; there are no lines then.
    """

    title: str
    lines: tuple[Line, ...] = ()
    equal: int = 0
    only: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The part as plain values."""
        return {
            "title": self.title,
            **({"only": self.only} if self.only else {}),
            "equal": self.equal,
            "lines": [line.to_dict() for line in self.lines],
        }


@dataclass(frozen=True)
class Diff:
    """Two things of one kind, side by side.

    Attributes
    ----------
    kind : what both are.
    names : of A and B, told apart.
    question : what was asked of both, by option; empty where nothing was run.
    parameters, results : what differs, below its headings.
    obstacles : what stands in the way of A and of B.
    note : what to know of the whole, or empty.
    """

    kind: str
    names: tuple[str, str]
    question: Mapping[str, Any]
    parameters: tuple[Part, ...]
    results: tuple[Part, ...]
    obstacles: tuple[tuple[str, ...], tuple[str, ...]]
    note: str = ""

    def __repr__(self) -> str:
        return one_line(self, " and ".join(self.names), self.kind, self.summary)

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        moved = any(line.differs for part in self.results for line in part.lines)
        return not (
            moved
            or any(part.lines for part in self.parameters)
            or not self._same_headings
            or self.obstacles[0] != self.obstacles[1]
        )

    @property
    def _same_headings(self) -> bool:
        return not any(part.only for part in (*self.parameters, *self.results))

    @property
    def summary(self) -> str:
        """How much differs, in words."""
        if self.same:
            return "nothing differs"
        stated = sum(len(part.lines) for part in self.parameters)
        found = sum(line.differs for part in self.results for line in part.lines)
        words = [
            f"{number} {what}{'s' * (number > 1)}"
            for number, what in ((stated, "parameter"), (found, "result"))
            if number
        ]
        if not words:
            return (
                "what stands in the way differs"
                if self._same_headings
                else "one has what the other lacks"
            )
        return f"{' and '.join(words)} differ{'s' * (stated + found == 1)}"

    def to_dict(self) -> dict[str, Any]:
        """The object of ``--json``, in the units of the files that state the parameters and, for
        results, in SI units."""
        return {
            "kind": self.kind,
            "a": self.names[0],
            "b": self.names[1],
            "question": dict(self.question),
            "same": self.same,
            "parameters": [part.to_dict() for part in self.parameters],
            "results": [part.to_dict() for part in self.results],
            "obstacles": {"a": list(self.obstacles[0]), "b": list(self.obstacles[1])},
        }


def compare(
    a: Side,
    b: Side,
    *,
    question: Mapping[str, Any] | None = None,
    changes: Mapping[str, tuple[float, float]] | None = None,
    note: str = "",
) -> Diff:
    """Put two sides beside each other.

    Parameters
    ----------
    question : what was asked of both, by option.
    changes : the 90 % interval of the change of results, by name.
    note : what to know of the whole.

    Raises
    ------
    InputError
        If they are of different kinds.
    """
    if a.kind != b.kind:
        raise InputError(
            f"{a.name} and {b.name}: are {_article(a.kind)} and {_article(b.kind)}; two of one "
            "kind can be compared"
        )
    names = (a.name, b.name) if a.name != b.name else (f"A {a.name}", f"B {b.name}")
    return Diff(
        kind=a.kind,
        names=names,
        question=question or {},
        parameters=_parts(a.parameters, b.parameters, {}, ranges=True),
        results=_parts(a.results, b.results, changes or {}, ranges=False),
        obstacles=(a.obstacles, b.obstacles),
        note=note,
    )


def _parts(
    a: Mapping[str, Values],
    b: Mapping[str, Values],
    changes: Mapping[str, tuple[float, float]],
    *,
    ranges: bool,
) -> tuple[Part, ...]:
    """Headings of both with what is to be shown; of parameters ranges and kinds count, too."""
    parts = []
    for title in dict.fromkeys((*a, *b)):
        if a and b and (title not in a or title not in b):
            parts.append(Part(title, only="a" if title in a else "b"))
            continue
        first, second = a.get(title, {}), b.get(title, {})
        lines = [
            Line(name, first.get(name), second.get(name), changes.get(name))
            for name in dict.fromkeys((*first, *second))
        ]
        shown = tuple(line for line in lines if _is_shown(line, ranges))
        if shown:
            parts.append(Part(title, shown, len(lines) - len(shown)))
    return tuple(parts)


def _is_shown(line: Line, ranges: bool) -> bool:
    if line.differs or line.of.headline:
        return True
    assert line.a is not None
    assert line.b is not None
    return ranges and (line.a.range, line.a.kind) != (line.b.range, line.b.kind)


def _alike(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, int | float) and math.isfinite(a):
        return math.isclose(a, b, rel_tol=SAME, abs_tol=0.0)
    return bool(a == b)


def _article(kind: str) -> str:
    return f"a{'n' * (kind[0] in 'aeiou')} {kind}"
