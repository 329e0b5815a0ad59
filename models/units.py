"""Units that a person may write: those that convert exactly, and none that could mean another."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from hardwire.models.brief import brief
from hardwire.models.errors import InputError


def _decimal(base: str, prefixes: str) -> dict[str, Fraction]:
    powers = {"f": -15, "p": -12, "n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12}
    return {
        prefix + base: Fraction(10) ** powers[prefix] for prefix in ["", *prefixes.replace(" ", "")]
    }


_BINARY = {"B": Fraction(1)} | {
    f"{prefix}iB": Fraction(1 << 10 * power) for power, prefix in enumerate("KMGT", 1)
}
_FAMILIES: tuple[dict[str, Fraction], ...] = (
    _decimal("s", "num") | {"min": Fraction(60), "h": Fraction(3600)},
    _decimal("Hz", "kMG"),
    _BINARY,
    _decimal("B", "kMGT"),
    _decimal("B/s", "kMGT"),
    _decimal("W", "mkM"),
    _decimal("J", "fpnum"),
    {"mm": Fraction(1), "um": Fraction(1, 1000), "cm": Fraction(10)},
    {"mm2": Fraction(1), "um2": Fraction(1, 10**6), "cm2": Fraction(100)},
)
"""Units by size, those of one family together. Binary and decimal bytes are two: whoever writes GB
where MiB are asked for may mean either."""

_PARTS = re.compile(r"([-+]?[0-9._]*(?:[eE][-+]?[0-9]+)?) *(.*)", re.DOTALL)
_SPELLINGS = str.maketrans({"µ": "u", "μ": "u", "²": "2", " ": None})


def read_number(where: str, text: str, unit: str, allowed: str) -> float:
    """A number that may carry a unit, in ``unit``: ``1500 MHz`` is 1.5 where GHz are asked for.

    Parameters
    ----------
    where : begins messages.
    unit : that a bare number has, empty where it has none.
    allowed : the legal values, for messages.

    Raises
    ------
    InputError
        If it is no number, or its unit does not convert exactly. Where only binary and decimal
        bytes are mixed up, the sentence gives the number.
    """
    number = text.strip()
    if number.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return float(number)
    parts = _PARTS.fullmatch(number)
    assert parts is not None  # whatever the text is, the second group takes the rest
    number, written = parts.groups()
    value = _fraction(where, text, number, allowed)
    if not written or written.translate(_SPELLINGS) == unit:
        return float(value)
    factor = _factor(written, unit)
    if factor is not None:
        return float(value * factor)
    wanted = f"the unit is {unit}" if unit else "it has no unit"
    raise InputError(
        f"{where}: '{text}' is in the wrong unit: {wanted}{_told(value, written, unit)}"
    )


def number_pattern(unit: str) -> str:
    """A pattern, without flags, of the texts that ``read_number`` takes for a unit."""
    written = {unit}
    for family in _FAMILIES:
        if unit in family:
            written |= family.keys()
    units = "|".join(_spelled(name, written) for name in sorted(written) if name)
    digits = r"[0-9][0-9_]*"
    number = rf"[-+]?({digits}\.?({digits})?|\.{digits})([eE][-+]?[0-9]+)?"
    return rf"^\s*{number} *({units})?\s*$" if units else rf"^\s*{number}\s*$"


def literal(sign: str) -> str:
    """A sign in a pattern; editors' JavaScript takes no backslash where none is needed."""
    return f"\\{sign}" if sign in r"^$\.*+?()[]{}|/" else sign


def _spelled(name: str, others: set[str]) -> str:
    """A pattern of a unit's name; case counts only where it makes a difference."""
    alone = sum(other.lower() == name.lower() for other in others) == 1
    signs = {"u": "uµμ", "2": "2²"}
    letters = []
    for sign in name:
        same = signs.get(sign, sign)
        if alone and sign.isalpha() and len(others) > 1:
            same = "".join(dict.fromkeys(same + sign.lower() + sign.upper()))
        letters.append(f"[{same}]" if len(same) > 1 else literal(same))
    return "".join(letters)


def _fraction(where: str, text: str, number: str, allowed: str) -> Fraction | float:
    try:
        # float first: it says what is a number, and what is beyond the largest.
        value = float(number)
        return Fraction(number) if math.isfinite(value) else value
    except ValueError:
        raise InputError(f"{where}: a number is expected ({allowed}), not '{text}'") from None


def _factor(written: str, unit: str) -> Fraction | None:
    """What one of the unit as written is in ``unit``; None where that is not sure."""
    for family in _FAMILIES:
        name = _named(written, family)
        if name is not None and unit in family:
            return family[name] / family[unit]
    return None


def _named(written: str, family: dict[str, Fraction]) -> str | None:
    """The unit of a family that is written so; case counts only where it makes a difference."""
    plain = written.translate(_SPELLINGS)
    if plain in family:
        return plain
    near = [name for name in family if name.lower() == plain.lower()]
    return near[0] if len(near) == 1 else None


def _told(value: Fraction | float, written: str, unit: str) -> str:
    """The number, where the unit is of the other kind of bytes."""
    binary, decimal = _FAMILIES[2], _FAMILIES[3]
    for one, other in ((decimal, binary), (binary, decimal)):
        name = _named(written, one)
        if name is not None and unit in other:
            number = float(value * one[name] / other[unit])
            return f" ({float(value):g} {written} is {brief(number)} {unit})"
    return ""
