"""Options of a replay that are written as text: goals and rates."""

from __future__ import annotations

from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError

GOALS = ("ttft", "tpot")


def parse_slo(text: str) -> dict[str, float]:
    """``ttft=0.2,tpot=0.02`` as a mapping, in seconds.

    Raises
    ------
    InputError
        On an unknown name, one given twice, or no number.
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
        goals[name] = _float(number, f"--slo {text}: {name}", "seconds")
    return goals


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
