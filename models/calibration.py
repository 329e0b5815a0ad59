"""What a chip file says besides parameters: a measurement that was fitted to, a rate announced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hardwire.models.errors import InputError
from hardwire.models.files import what_is_wrong
from hardwire.models.parameters import WHOLE, Parameter

Block = TypeVar("Block", bound=BaseModel)


class Calibration(BaseModel):
    """The one measurement that one parameter was fitted to."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    parameter: str = Field(description="the one of kind calibrated, by dotted name")
    metric: Literal["token_s"] = Field(description="mean decode step, s")
    value: float = Field(gt=0, allow_inf_nan=False, description="as measured, s")
    relative_error: float = Field(
        ge=0, lt=1, description="one standard deviation of the measurement"
    )
    prompt: Annotated[int, Field(ge=1, description="prompt tokens"), WHOLE]
    output: Annotated[int, Field(ge=2, description="output tokens"), WHOLE]
    adapter: str | None = Field(default=None, description="shape that was loaded, if any")
    source: str


class Target(BaseModel):
    """The decode rate of one user that was announced of a chip with its own model."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    tokens_per_s: float = Field(gt=0, allow_inf_nan=False, description="of one user")
    source: str


def read_calibration(
    where: str, data: Any, parameters: Mapping[str, Parameter]
) -> Calibration | None:
    """The section ``calibration`` of a chip file, where it has one.

    Raises
    ------
    InputError
        If it is none, or its parameter is not the one of kind ``calibrated``.
    """
    calibrated = [key for key, parameter in parameters.items() if parameter.kind == "calibrated"]
    if data is None:
        if calibrated:
            raise InputError(f"{where}: {calibrated[0]} is calibrated, but calibration is missing")
        return None
    calibration = read_block(where, "calibration", data, Calibration)
    if calibrated != [calibration.parameter]:
        raise InputError(
            f"{where}: calibration.parameter: '{calibration.parameter}' must be the one parameter "
            f"of kind calibrated ({', '.join(calibrated) or 'none is'})"
        )
    return calibration


def read_block(where: str, key: str, data: Any, block: type[Block]) -> Block:
    """A mapping of a chip file that is no section of parameters.

    Raises
    ------
    InputError
        On what is no mapping, or a key that is unknown, missing or wrong.
    """
    if not isinstance(data, dict):
        raise InputError(f"{where}: {key} must be a mapping")
    try:
        return block.model_validate(data)
    except ValidationError as error:
        field = error.errors(include_url=False)[0]["loc"][0]
        raise InputError(f"{where}: {key}.{field}: {what_is_wrong(error)}") from None
