"""Options of a replay that are written as text: goals and rates."""

from __future__ import annotations

from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.units import read_number

GOALS = ("ttft", "tpot")
LONGEST_S = 60.0
"""Goals above a minute need a unit: no one waits so long, and milliseconds are the usual slip."""


def parse_slo(text: str) -> dict[str, float]:
    """``ttft=200ms,tpot=0.02`` as a mapping, in seconds.

    Raises
    ------
    InputError
        On an unknown name, one given twice, no time, or a bare number above a minute.
    """
    goals: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if not equals or name not in GOALS:
            raise InputError(
                f"--slo {text}: must be written ttft=SECONDS,tpot=SECONDS"
                f"{did_you_mean(name, GOALS) if name and name not in GOALS else ''}"
            )
        if name in goals:
            raise InputError(f"--slo {text}: {name} is given twice")
        goals[name] = seconds(number, f"--slo {text}: {name}")
    return goals


def seconds(value: str | float, where: str) -> float:
    """A goal in seconds; text may carry another unit of time.

    Raises
    ------
    InputError
        If it is no time, or a bare number above a minute, which is more likely milliseconds.
    """
    text = str(value).strip()
    found = read_number(where, text, "s", "seconds, or a time such as 200ms")
    if found > LONGEST_S and not text[-1:].isalpha():
        raise InputError(
            f"{where}: {text} would be seconds: write {text}ms for milliseconds, or {text}s"
        )
    return found


def parse_rates(text: str) -> list[float]:
    """``1.6,0.8,0.4`` as numbers.

    Raises
    ------
    InputError
        If one is no number.
    """
    return [_float(part, f"--adapter-rates {text}", "requests/s") for part in text.split(",")]


def _float(text: str, where: str, unit: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{where}: {text.strip()!r} is no number of {unit}") from None
