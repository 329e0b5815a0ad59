"""Constraints of a study: comparisons such as ``area_mm2.total <= 0.95 * die_area_mm2``."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError

_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.LtE: operator.le,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.Gt: operator.gt,
    ast.Eq: operator.eq,
}
LONGEST = 500
"""Letters of a constraint."""


@dataclass(frozen=True)
class Constraint:
    """A comparison of two expressions of metrics, settings and numbers.

    Attributes
    ----------
    text : as the study states it, which is also the reason of a point that fails it.
    names : metrics and settings in it.
    """

    text: str
    names: frozenset[str]
    left: ast.expr
    comparison: type
    right: ast.expr

    @classmethod
    def parse(cls, text: str, known: Collection[str], where: str) -> Constraint:
        """Read ``EXPRESSION <= EXPRESSION``; operators are <=, >=, <, > and ==.

        Raises
        ------
        InputError
            If it is no comparison, or a name in it is unknown; the message has the nearest ones.
        """
        wanted = f"{where}: '{text}' must be a comparison such as sram.free_bytes >= 0"
        if not isinstance(text, str) or len(text) > LONGEST:
            raise InputError(wanted)
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise InputError(wanted) from None
        if not isinstance(tree, ast.Compare) or len(tree.ops) != 1:
            raise InputError(wanted)
        comparison = type(tree.ops[0])
        if comparison not in _COMPARISONS:
            raise InputError(wanted)
        names: set[str] = set()
        for side in (tree.left, tree.comparators[0]):
            _collect(side, names, wanted)
        for name in sorted(names):
            if name not in known:
                raise InputError(
                    f"{where}: '{text}': '{name}' is no metric or number of the study"
                    f"{did_you_mean(name, known)}"
                )
        return cls(text.strip(), frozenset(names), tree.left, comparison, tree.comparators[0])

    def holds(self, value: Callable[[str], Any]) -> Any:
        """Where the constraint holds; ``value`` gives a name's number or array."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return _COMPARISONS[self.comparison](
                _evaluate(self.left, value), _evaluate(self.right, value)
            )

    def excess(self, value: Callable[[str], Any]) -> Any:
        """How far the constraint is from holding, relative to its sides: at most 0 where it does.

        What a search minimizes for designs that fail.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            left, right = _evaluate(self.left, value), _evaluate(self.right, value)
            scale = np.maximum(np.maximum(np.abs(left), np.abs(right)), 1e-300)
            difference = (left - right) / scale
        if self.comparison is ast.Eq:
            return np.abs(difference)
        away = difference if self.comparison in (ast.LtE, ast.Lt) else -difference
        # A strict comparison fails where the sides are equal.
        return np.where((away <= 0) & ~self.holds(value), 1e-12, away)

    def bound(self) -> tuple[str, bool, float] | None:
        """``(name, is an upper bound, value)`` of a constraint ``name <= number``, or None."""
        value: Any = _number(self.right)
        named: ast.expr = self.left
        upper = self.comparison in (ast.LtE, ast.Lt)
        if value is None:
            value, named, upper = _number(self.left), self.right, not upper
        name = _dotted(named)
        if value is None or name is None or self.comparison is ast.Eq:
            return None
        return name, upper, float(value)


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = _dotted(node.value)
        return None if inner is None else f"{inner}.{node.attr}"
    return None


def _number(node: ast.expr) -> float | None:
    try:
        return float(_evaluate(node, lambda name: np.nan + float(name)))
    except (ValueError, ZeroDivisionError):
        return None


def _collect(node: ast.expr, names: set[str], wanted: str) -> None:
    """Names of an expression; refuses all but arithmetic of names and numbers."""
    name = _dotted(node)
    if name is not None:
        names.add(name)
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        _collect(node.left, names, wanted)
        _collect(node.right, names, wanted)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        _collect(node.operand, names, wanted)
    elif not (isinstance(node, ast.Constant) and type(node.value) in (int, float)):
        raise InputError(wanted)


def _evaluate(node: ast.expr, value: Callable[[str], Any]) -> Any:
    name = _dotted(node)
    if name is not None:
        return value(name)
    if isinstance(node, ast.BinOp):
        return _ARITHMETIC[type(node.op)](_evaluate(node.left, value), _evaluate(node.right, value))
    if isinstance(node, ast.UnaryOp):
        return -_evaluate(node.operand, value)
    assert isinstance(node, ast.Constant)
    return float(node.value)  # type: ignore[arg-type]
