"""What a fit leaves in the file of a GPU server: the spread of what was fitted, and its domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from hardwire.models.calibration import read_block
from hardwire.models.errors import InputError

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Bound = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Bounds = tuple[Bound, Bound]


class Fitted(BaseModel):
    """How far values that were fitted together may be off together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    names: tuple[str, ...] = Field(min_length=1, description="parameters that were fitted")
    covariance: tuple[tuple[Number, ...], ...] = Field(
        min_length=1, description="of their values, in the products of their units"
    )
    rows: Annotated[StrictInt, Field(ge=1, description="measured times that they were fitted to")]
    residual: Number = Field(
        default=0.0, ge=0, description="root mean square of their relative errors"
    )

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(N, N), in the order of ``names``."""
        return np.array(self.covariance, float)


class Domain(BaseModel):
    """What the measurements behind a server's step times span; what is absent was not varied."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt_tokens: Bounds | None = Field(default=None, description="of a request's prompt")
    batch: Bounds | None = Field(default=None, description="requests in a step")
    rank: Bounds | None = Field(default=None, description="of adapter slots")
    slots: Bounds | None = Field(default=None, description="adapter slots")
    distinct: Bounds | None = Field(default=None, description="distinct adapters in a step")

    def items(self) -> Iterator[tuple[str, tuple[float, float]]]:
        """What is known, by name."""
        for name in type(self).model_fields:
            bounds = getattr(self, name)
            if bounds is not None:
                yield name, bounds

    def beyond(self, met: Mapping[str, float]) -> list[str]:
        """What a run meets above what was measured, a sentence each.

        Parameters
        ----------
        met : the most that a run has of what the domain names, where it has any.
        """
        return [
            f"{WORDS[name].format(met[name])}: step times are measured up to {high:,g}"
            for name, (_, high) in self.items()
            if met.get(name, 0) > high
        ]


WORDS = {
    "prompt_tokens": "prompts of {:,.0f} tokens",
    "batch": "{:,.0f} requests in a step",
    "rank": "adapter slots of rank {:.0f}",
    "slots": "{:,.0f} adapter slots",
    "distinct": "{:,.0f} distinct adapters in a step",
}
"""How a run's value of what a domain names is told."""


def read_fit(where: str, data: Any, known: Mapping[str, Any]) -> Fitted | None:
    """The block ``fit`` of a server file, where it has one.

    Parameters
    ----------
    where : name of the file.
    known : the parameters of the file by name.

    Raises
    ------
    InputError
        If it is none, names what is no number of the file, or has no covariance of as many values.
    """
    if data is None:
        return None
    found = read_block(where, "fit", data, Fitted)
    for name in found.names:
        if name not in known:
            raise InputError(f"{where}: fit.names: {name} is no parameter of this file")
    size = len(found.names)
    if len(set(found.names)) < size:
        raise InputError(f"{where}: fit.names: a name is given twice")
    if any(len(row) != size for row in (found.covariance, *found.covariance)):
        raise InputError(f"{where}: fit.covariance: a square of {size} numbers is expected")
    matrix = found.matrix
    scale = np.sqrt(np.outer(np.abs(np.diag(matrix)), np.abs(np.diag(matrix))))
    unit = np.divide(matrix, scale, out=np.zeros_like(matrix), where=scale > 0)
    if not np.allclose(unit, unit.T, atol=1e-6) or np.linalg.eigvalsh(unit).min() < -1e-6:
        raise InputError(f"{where}: fit.covariance: is no covariance (symmetric, none negative)")
    return found


def read_domain(where: str, data: Any) -> Domain | None:
    """The block ``domain`` of a server file, where it has one.

    Raises
    ------
    InputError
        If it is none, or a range runs backwards.
    """
    if data is None:
        return None
    found = read_block(where, "domain", data, Domain)
    for name, (low, high) in found.items():
        if low > high:
            raise InputError(f"{where}: domain.{name}: {low:g} to {high:g} runs backwards")
    return found
