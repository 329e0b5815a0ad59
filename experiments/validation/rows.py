"""All rows judged: prediction and interval against what was published."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.experiments.validation import (
    claims,
    dies,
    experts,
    gpu,
    hc1,
    hnlpu,
    parts,
    roma,
    technology,
)
from hardwire.experiments.validation.agreement import Agreement, agreements, cases
from hardwire.experiments.validation.bench import Bench, Predicted
from hardwire.models.brief import one_line
from hardwire.models.published import Factor, PublishedRow, published
from hardwire.simulator.belief.draws import DRAWS, interval

PREDICTORS: dict[str, dict[str, Callable[[Bench, PublishedRow], Predicted]]] = {
    "hc1": hc1.PREDICTORS,
    "roma": roma.PREDICTORS,
    "hnlpu": hnlpu.PREDICTORS,
    "dies": dies.PREDICTORS,
    "gpu": gpu.PREDICTORS,
    "parts": parts.PREDICTORS,
    "experts": experts.PREDICTORS,
    "technology": technology.PREDICTORS,
    "claims": claims.PREDICTORS,
}
"""By system, in the order of the table; by metric."""

FIDELITY = "fidelity"
"""The role of a row that compares the simulator with itself."""

EXACT = 1e-9
LIMITS = ("at most", "at least")


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes
    ----------
    published, predicted : in ``unit``; None where there is none.
    low, high : the 90 % interval of the prediction with the error of the published figure, or None.
    error : ``predicted / published - 1``; of rows over several runs the mean or the worst of their
        absolute errors, of a limit by how much it is broken (0 where it is kept).
    status : ``met`` or ``missed`` of a tolerance, ``""`` without one, or why nothing is
        predicted.
    words : verdict and arithmetic of a claim, or what the row is over.
    reason, seen_in : why a row is in-sample or an identity, and the commit that made it so.
    """

    id: str
    system: str
    metric: str
    unit: str
    published: float | None
    predicted: float | None
    low: float | None
    high: float | None
    error: float | None
    role: str
    source: str
    tolerance: str
    status: str
    note: str = ""
    words: str = ""
    reason: str | None = None
    seen_in: str | None = None

    @property
    def inside(self) -> bool | None:
        """Whether the published value lies in the interval; None for a limit or without one."""
        if self.published is None or self.low is None or self.high is None:
            return None
        if self.tolerance in LIMITS:
            return None
        return self.low <= self.published <= self.high

    def to_dict(self) -> dict[str, Any]:
        """The row as plain values."""
        return {**dataclasses.asdict(self), "inside": self.inside}


@dataclass(frozen=True)
class Validation:
    """All rows, and how many of role ``validation`` lie in their interval."""

    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        inside, judged = self.covered
        return one_line(
            self,
            "",
            f"{len(self.rows)} rows",
            f"{inside} of {judged} predictions inside their interval",
            f"{len(self.missed)} outside their tolerance",
        )

    @property
    def covered(self) -> tuple[int, int]:
        """Rows inside their interval, and rows that have one, of those of role ``validation``."""
        judged = [
            row.inside for row in self.rows if row.role == "validation" and row.inside is not None
        ]
        return sum(judged), len(judged)

    @property
    def missed(self) -> tuple[Row, ...]:
        """Rows outside their tolerance."""
        return tuple(row for row in self.rows if row.status == "missed")


def validate(
    bench: Bench,
    *,
    fidelities: bool = True,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Validation:
    """Predict and judge every published row, then compare the fidelities.

    ``report`` is told after each row and each case of the comparisons how many are done, and of how
    many.
    """
    asked = [(system, row) for system in PREDICTORS for row in published(system)]
    total, done = len(asked) + (cases() if fidelities else 0), itertools.count(1)

    def step() -> None:
        report(next(done), total)

    rows = []
    for system, row in asked:
        rows.append(judge(bench, system, row))
        step()
    if fidelities:
        rows += [of_agreement(found) for found in agreements(step=step)]
    return Validation(tuple(rows))


def judge(bench: Bench, system: str, row: PublishedRow) -> Row:
    """One row: predicted, with interval, error and whether its tolerance is met."""
    empty = Row(
        id=row.id,
        system=system,
        metric=row.metric,
        unit=row.unit,
        published=row.value,
        predicted=None,
        low=None,
        high=None,
        error=None,
        role=row.role,
        source=row.source,
        tolerance=tolerance_text(row),
        status="",
        note=row.note,
        reason=row.reason,
        seen_in=row.seen_in,
    )
    if row.role == "not modelled":
        return dataclasses.replace(empty, status="not modelled")
    if reason := gpu.absent(bench, row):
        return dataclasses.replace(empty, status=reason)
    found = PREDICTORS[system][row.metric](bench, row)
    value = row.value if found.published is None else found.published
    low, high = predictive_interval(bench, row, found)
    error = found.error if found.error is not None else error_of(row, found.value, value)
    return dataclasses.replace(
        empty,
        published=value,
        predicted=found.value,
        low=low,
        high=high,
        error=error,
        status=status_of(row, error),
        words=found.words,
    )


def predictive_interval(
    bench: Bench, row: PublishedRow, found: Predicted
) -> tuple[float | None, float | None]:
    """The 5th and 95th percentile of what would be published if the draws are right.

    Each draw of the unpublished parameters with an error of the published figure, itself drawn.
    """
    if found.value is None or (found.draws is None and row.sigma is None):
        return None, None
    draws = np.full(DRAWS, found.value) if found.draws is None else found.draws
    noise: NDArray[np.float64] = bench.stream(f"{row.id}.published").standard_normal(len(draws))
    if row.relative_error is not None:
        draws = draws * (1 + row.relative_error * noise)
    elif row.error is not None:
        draws = draws + row.error * noise
    low, high = interval(draws)
    return low, high


def error_of(row: PublishedRow, predicted: float | None, value: float | None) -> float | None:
    """Relative error, or by how much a limit is broken."""
    if predicted is None or value is None:
        return None
    if value == 0:
        return 0.0 if predicted == 0 else math.inf
    relative = predicted / value - 1
    if row.tolerance == "at most":
        return max(relative, 0.0)
    if row.tolerance == "at least":
        return min(relative, 0.0)
    return relative


def status_of(row: PublishedRow, error: float | None) -> str:
    """Whether an error is within the row's tolerance."""
    if row.tolerance is None or error is None:
        return ""
    if isinstance(row.tolerance, Factor):
        met = 1 / row.tolerance.factor <= 1 + error <= row.tolerance.factor
    elif isinstance(row.tolerance, float | int):
        met = abs(error) <= row.tolerance
    else:
        met = abs(error) <= EXACT
    return "met" if met else "missed"


def tolerance_text(row: PublishedRow) -> str:
    """The tolerance as the table shows it."""
    if row.tolerance is None:
        return ""
    if isinstance(row.tolerance, Factor):
        return f"{row.tolerance.factor:g} ×"
    if isinstance(row.tolerance, float | int):
        return f"{row.tolerance:.0%}"
    return row.tolerance


def of_agreement(found: Agreement) -> Row:
    """Two fidelities over some cases; the error is the worst, the mean is said beside it."""
    return Row(
        id=found.id,
        system="fidelities",
        metric=found.metric,
        unit="",
        published=None,
        predicted=None,
        low=None,
        high=None,
        error=found.worst,
        role=FIDELITY,
        source="",
        tolerance="" if found.limit is None else f"{found.limit:.1%}" if found.limit else "exact",
        status="" if found.limit is None else "met" if found.worst <= found.limit else "missed",
        note=found.note,
        words=f"mean {found.mean * 100:.2g}%, {found.cases} cases",
    )


def rows_of(rows: Sequence[Row], system: str) -> list[Row]:
    """The rows of one system."""
    return [row for row in rows if row.system == system]
