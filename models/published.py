"""Published and measured figures: the one place where their values, errors and sources stand.

A file of ``models/published`` holds the rows of one system. A row says what was published, under
which conditions, how exact it is, how near a prediction has to come, and what it was used for: only
a row of role ``validation`` was used for nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.files import complaint
from hardwire.models.parameters import read_yaml
from hardwire.models.schema import Schema, head, of_record

Role = Literal["calibration", "in-sample", "identity", "validation", "claim", "not modelled"]
"""What a row was used for: a parameter was fitted to it (calibration); its value helped to choose a
parameter or a form (in-sample); the prediction repeats the arithmetic of the publication with its
own inputs (identity); nothing (validation)."""

UNPROVING: tuple[Role, ...] = ("in-sample", "identity")
"""Roles that need a reason: their errors prove nothing, though nothing was fitted to them."""

FOLDER = Path(__file__).resolve().parent / "published"


def _given(key: str) -> dict[str, Any]:
    """A schema of mappings in which a key is there and not null."""
    return {"required": [key], "properties": {key: {"not": {"type": "null"}}}}


class Factor(BaseModel):
    """A tolerance of a factor either way, such as ``{factor: 2}``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    factor: float = Field(gt=1, allow_inf_nan=False)


class PublishedRow(BaseModel):
    """One published or measured figure."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        # The rules of the validators below, for editors.
        json_schema_extra={
            "allOf": [
                {
                    "if": {"anyOf": [_given("relative_error"), _given("error")]},
                    "then": _given("error_source"),
                    "else": {"not": _given("error_source")},
                },
                {"not": {"allOf": [_given("relative_error"), _given("error")]}},
                {
                    "if": {"properties": {"role": {"enum": list(UNPROVING)}}},
                    "then": _given("reason"),
                    "else": {"not": _given("reason")},
                },
                {
                    "if": _given("seen_in"),
                    "then": {"properties": {"role": {"const": UNPROVING[0]}}},
                },
            ]
        },
    )

    id: str = Field(min_length=1, description="unique among all systems")
    metric: str = Field(min_length=1, description="names the predictor")
    value: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="in the unit; none where the values lie in a data file that conditions names",
    )
    unit: str
    relative_error: float | None = Field(
        default=None, ge=0, lt=1, description="one standard deviation, as a share of the value"
    )
    error: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="one standard deviation in the unit, instead of relative_error",
    )
    error_source: str | None = Field(default=None, description="why the error is so large")
    conditions: dict[str, float | int | str] = Field(
        default_factory=dict, description="what the figure was taken at, for the predictor"
    )
    tolerance: float | Literal["exact", "at most", "at least"] | Factor | None = Field(
        default=None,
        description="the relative error that a prediction may have, a factor, exact, or a limit",
    )
    role: Role = Field(
        description="what the row was used for: calibration if something was fitted to it, "
        "in-sample if it helped to choose a parameter or a form, identity if the prediction "
        "repeats the publication's own arithmetic, validation if for nothing"
    )
    reason: str | None = Field(
        default=None, min_length=1, description="why the row is in-sample, or an identity"
    )
    seen_in: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{7,40}$",
        description="the commit that changed a parameter with an in-sample row in sight",
    )
    source: str = Field(min_length=1)
    note: str = ""

    @model_validator(mode="after")
    def _errors_have_a_source(self) -> PublishedRow:
        if self.relative_error is not None and self.error is not None:
            raise ValueError("relative_error and error are one or the other")
        if (self.relative_error is None and self.error is None) != (self.error_source is None):
            raise ValueError("error_source goes together with one of relative_error and error")
        return self

    @model_validator(mode="after")
    def _unproving_roles_have_a_reason(self) -> PublishedRow:
        if (self.role in UNPROVING) != (self.reason is not None):
            raise ValueError(f"reason goes together with a role of {' or '.join(UNPROVING)}")
        if self.seen_in is not None and self.role != "in-sample":
            raise ValueError("seen_in goes together with the role in-sample")
        return self

    @property
    def sigma(self) -> float | None:
        """One standard deviation in ``unit``, or None where no error is known."""
        if self.error is not None:
            return self.error
        if self.relative_error is None or self.value is None:
            return None
        return self.relative_error * abs(self.value)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    system: str
    title: str
    rows: list[dict[str, Any]]


def published_schema() -> Schema:
    """The JSON Schema of files of published figures."""
    found = head(
        "File of published figures",
        "What was published or measured of one system, a row for each figure.",
    )
    file, row = of_record(_File), of_record(PublishedRow)
    file["properties"]["rows"]["items"] = {"$ref": "#/$defs/row"}
    return found | file | {"$defs": {**row.pop("$defs"), "row": row}}


def systems() -> list[str]:
    """Names of the systems of which something is published."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def published(system: str) -> tuple[PublishedRow, ...]:
    """The rows of one system, in the order of its file.

    Raises
    ------
    InputError
        If there is no such system, or its file breaks a rule; the message names file, row and
        field.
    """
    path = FOLDER / f"{system}.yaml"
    if not path.is_file():
        known = systems()
        raise InputError(
            f"nothing is published of '{system}'{did_you_mean(system, known)} "
            f"(there is {', '.join(known)})"
        )
    return read_published(path)


def read_published(path: Path) -> tuple[PublishedRow, ...]:
    """The rows of one file; see ``published``."""
    try:
        file = _File.model_validate(read_yaml(path))
    except ValidationError as error:
        raise InputError(f"{path.name}: {complaint(error)}") from None
    if file.system != path.stem:
        raise InputError(f"{path.name}: system: must be '{path.stem}', as the file is named")
    rows: list[PublishedRow] = []
    for number, data in enumerate(file.rows, start=1):
        where = f"{path.name}: row {data.get('id', number)}"
        try:
            rows.append(PublishedRow.model_validate(data))
        except ValidationError as error:
            raise InputError(f"{where}: {complaint(error)}") from None
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise InputError(f"{path.name}: row {row.id}: id: is given twice")
        seen.add(row.id)
    return tuple(rows)
