"""Closed form and compiled engine of systems of several dies against each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hardwire.models import catalogue
from hardwire.models.system.system import System
from hardwire.simulator.system.closed_form import rates
from hardwire.simulator.system.measured import measure

LOADS = ((1, 64, 32), (8, 16, 32))
"""Users, prompt and output of each comparison: alone, and so many that they meet on links."""

SystemCase = tuple[str, int, int, int]


def system_cases() -> Iterator[SystemCase]:
    """Each system of the catalogue under each load: its name, users, prompt and output."""
    for name, load in itertools.product(catalogue.names("system"), LOADS):
        yield (name, *load)


def system_errors(case: SystemCase) -> tuple[float, float]:
    """Relative errors of the closed form's step and time to first token, signs dropped."""
    name, users, prompt, output = case
    system = System.open(name)
    closed = rates(system, prompt=prompt, output=output, users=users)
    found = measure(system, prompt=prompt, output=output, users=users)
    return (
        abs(float(closed.token_s) / found.token_s - 1),
        abs(float(closed.ttft_s) / found.ttft_s - 1),
    )
