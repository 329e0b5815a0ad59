"""JSON Schemas of the YAML files that people write, for editors: pieces, and the files as shipped.

Each kind's schema is made beside its reader, from what the reader itself goes by. Only the program
can say what depends on other files or on several values, such as a chip that does not exist, or a
value that is outside its own range.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hardwire.models import catalogue
from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.parameters import Quantity
from hardwire.models.units import literal, number_pattern

Schema = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = Path(__file__).resolve().parent / "schemas"
ENDING = ".schema.json"
EDITOR_LINE = "# yaml-language-server: $schema="
"""What the YAML language server, the one of most editors, finds a file's schema by."""

TEXT: Schema = {"type": "string", "pattern": r"\S"}
YAML_PATH = r"[/\\]|\.[yY][aA]?[mM][lL]$"
JSON_PATH = r"[/\\]|\.[jJ][sS][oO][nN]$"


def names() -> list[str]:
    """Kinds of files that have a schema, sorted."""
    return sorted(path.name.removesuffix(ENDING) for path in FOLDER.glob(f"*{ENDING}"))


def schema_file(kind: str) -> Path:
    """The schema of a kind of file as installed.

    Raises
    ------
    InputError
        If there is no such kind; the message names the nearest one.
    """
    known = names()
    for name in known:
        if name == str(kind).lower():
            return FOLDER / f"{name}{ENDING}"
    raise InputError(
        f"schema: '{kind}' is no kind of file{did_you_mean(str(kind), known)} "
        f"(there are {', '.join(known)})"
    )


def schema(kind: str) -> Schema:
    """The JSON Schema, draft 2020-12, of a kind of YAML file.

    Parameters
    ----------
    kind : ``chip``, ``server``, ``study`` or another of ``names()``.

    Raises
    ------
    InputError
        If there is no such kind.

    Examples
    --------
    >>> import hardwire as hw
    >>> hw.schema("chip")["title"]
    'Chip file of Hardwire'
    """
    found: Schema = json.loads(schema_file(kind).read_text(encoding="utf-8"))
    return found


def write(found: Mapping[str, Any]) -> str:
    """A schema as the text of its file, with a line for each key, setting or parameter."""

    def line(key: str, value: Any) -> str:
        return f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"

    parts = []
    for key, value in found.items():
        if key in ("properties", "$defs"):
            inner = ",\n".join(f"  {line(name, one)}" for name, one in value.items())
            parts.append(f" {json.dumps(key)}: {{\n{inner}\n }}")
        else:
            parts.append(f" {line(key, value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def editor_line(kind: str, folder: Path) -> str:
    """The line of a new file in a folder: the schema that lies there, or the installed one."""
    own = folder / f"{kind}{ENDING}"
    return EDITOR_LINE + (own.name if own.is_file() else schema_file(kind).as_uri())


def head(title: str, description: str) -> Schema:
    """What a schema begins with."""
    return {
        "$schema": DRAFT,
        "title": f"{title} of Hardwire",
        "description": description,
        "type": "object",
    }


def word(choices: Iterable[str]) -> Schema:
    """One of a few words, in upper or lower case."""
    found = list(choices)
    pattern = "|".join(any_case(choice) for choice in found)
    return {"anyOf": [{"enum": found}, {"type": "string", "pattern": rf"^\s*({pattern})\s*$"}]}


def any_case(text: str) -> str:
    """A pattern of a text in upper or lower case; JSON Schema has no flag for it."""
    return "".join(
        f"[{letter.upper()}{letter.lower()}]" if letter.isalpha() else literal(letter)
        for letter in text
    )


def name_of(kind: str, *, or_path: bool) -> Schema:
    """A name of the catalogue, and where the reader takes one the path of a file."""
    found: list[Schema] = [*word(catalogue.names(kind))["anyOf"]]
    if or_path:
        path = JSON_PATH if kind == "model" else YAML_PATH
        found.append({"type": "string", "pattern": path})
    return {"anyOf": found}


def value_of(spec: Quantity) -> Schema:
    """A value as ``check_value`` takes it: a number in bounds, a text with a unit, or a word."""
    if spec.choices:
        return {"description": spec.meaning, **word(spec.choices)}
    number: Schema = {"type": "integer" if spec.integer else "number"}
    if spec.numbers:
        number = {"enum": list(spec.numbers)}
    else:
        number |= {"minimum": spec.low, "maximum": spec.high}
    text = {"type": "string", "pattern": number_pattern(spec.unit)}
    described = f"{spec.meaning} ({spec.allowed()})"
    return {"description": described, "anyOf": [number, text]}


def of_record(model: type[BaseModel]) -> Schema:
    """A mapping that a pydantic model reads; without the titles that pydantic makes up."""
    found: Schema = _untitled(model.model_json_schema())
    found.pop("description", None)  # what the class says to programmers
    return found


def _untitled(found: Any) -> Any:
    if isinstance(found, list):
        return [_untitled(one) for one in found]
    if not isinstance(found, dict):
        return found
    return {
        key: _untitled(value)
        for key, value in found.items()
        if not (key == "title" and isinstance(value, str))
    }
