"""Parameters with a birth certificate: value, unit, kind, range and source, stated once.

A chip or process file is a tree of sections, each section a set of parameters. The sections are
dataclasses whose fields declare unit, legal bounds and meaning; the file gives value and origin.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.files import file_size, read_bytes, what_is_wrong
from hardwire.models.units import read_number

if TYPE_CHECKING:
    import pandas as pd


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_whole(value: Any) -> bool:
    """Whether a value out of YAML is a whole number, written as 5 or as 5.0."""
    return type(_whole(value)) is int


WHOLE = BeforeValidator(_whole)
"""Of an ``int`` of a strict record, which YAML may write as 5 or as 5.0; after its bounds."""

Kind = Literal["published", "derived", "assumed", "calibrated", "measured", "set"]
RANGED: tuple[Kind, ...] = ("assumed", "calibrated")
"""Kinds of numbers that need a range."""

Section = TypeVar("Section")
Word = TypeVar("Word", bound=str)


class Parameter(BaseModel):
    """One parameter as a file states it, with where it came from.

    ``kind`` is ``published`` (quoted), ``derived`` (arithmetic on published numbers), ``assumed``
    (needs a range), ``calibrated`` (needs a range; ``source`` names the measurement), ``measured``
    (read off your own profile; ``source`` says how) or ``set`` (a choice of whoever wrote the file,
    which claims nothing of a real chip).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Strict: YAML's yes, no, on and off are truth values, which would pass for 1 and 0.
    value: StrictFloat | StrictInt | StrictStr
    kind: Kind
    source: str
    range: tuple[StrictFloat, StrictFloat] | None = None
    unit: str | None = None


@dataclasses.dataclass(frozen=True)
class Quantity:
    """What the code knows about a parameter: unit, legal bounds, meaning.

    ``stream`` names its random stream where that is not its own name: a parameter that is renamed
    keeps its draws.
    """

    unit: str
    low: float
    high: float
    meaning: str
    integer: bool = False
    choices: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    stream: str = ""

    def allowed(self) -> str:
        """The legal values, for messages."""
        if self.choices or self.numbers:
            return "one of " + ", ".join(map(str, self.choices or self.numbers))
        unit = f" {self.unit}" if self.unit else ""
        return f"{_bound(self.low)} to {_bound(self.high)}{unit}"


def _bound(value: float) -> str:
    """An end of what is allowed, with all its digits; a large one, which is round, without."""
    return (
        f"{value:,.12g}"
        if abs(value) < 1e9
        else f"{value:g}".replace("e+0", "e").replace("e+", "e")
    )


def quantity(
    unit: str, low: float, high: float, meaning: str, *, default: Any = dataclasses.MISSING
) -> Any:
    """Declare a real-valued field of a section."""
    return dataclasses.field(
        default=default, metadata={"quantity": Quantity(unit, low, high, meaning)}
    )


def count(
    unit: str,
    low: float,
    high: float,
    meaning: str,
    *,
    default: Any = dataclasses.MISSING,
    stream: str = "",
) -> Any:
    """Declare a whole-numbered field of a section."""
    spec = Quantity(unit, low, high, meaning, integer=True, stream=stream)
    return dataclasses.field(default=default, metadata={"quantity": spec})


def one_of(unit: str, numbers: tuple[int, ...], meaning: str) -> Any:
    """Declare a field that takes one of a few whole numbers, given in rising order."""
    spec = Quantity(unit, numbers[0], numbers[-1], meaning, integer=True, numbers=numbers)
    return dataclasses.field(metadata={"quantity": spec})


def choice(options: tuple[str, ...], meaning: str, *, default: Any = dataclasses.MISSING) -> Any:
    """Declare a field that takes one of a few words."""
    spec = Quantity("", 0, 0, meaning, choices=options)
    return dataclasses.field(default=default, metadata={"quantity": spec})


def quantities(section: type) -> dict[str, Quantity]:
    """Field name → declaration, for a section class."""
    return {f.name: f.metadata["quantity"] for f in dataclasses.fields(section)}


def declared(sections: Mapping[str, type]) -> dict[str, Quantity]:
    """``section.field`` → declaration, for the sections of a kind of file."""
    return {
        f"{name}.{field}": spec
        for name, section in sections.items()
        for field, spec in quantities(section).items()
    }


class StrictLoader(yaml.SafeLoader):
    """A YAML loader that refuses a key given twice, which plain YAML silently overrides."""


class FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same by libyaml, in a sixth of the time, where PyYAML was built with it."""


_READ_OTHERWISE = re.compile(r"[\t?]")
"""What libyaml takes where ``StrictLoader`` refuses: a tab between tokens, a ? inside a word."""


def _unique_mapping(loader: Any, node: yaml.MappingNode) -> Any:
    seen: set[str] = set()
    for key_node, _ in node.value:
        key = str(getattr(key_node, "value", key_node))
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key '{key}' is given twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


def _plain_number(loader: Any, node: yaml.ScalarNode) -> Any:
    """Refuse what YAML 1.1 takes for another number than people do: 010 is 8, 1:30 is 90."""
    if _ODD_NUMBER.search(node.value):
        raise yaml.constructor.ConstructorError(
            None,
            None,
            f"{node.value} could be several numbers; write it without leading zeros, colons and "
            "underscores, or in quotes",
            node.start_mark,
        )
    kind = node.tag.rpartition(":")[2]
    return getattr(loader, f"construct_yaml_{kind}")(node)


_ODD_NUMBER = re.compile(r"[:_]|^[-+]?0[0-9]")
for _loader in (StrictLoader, FastLoader):
    for _kind in ("int", "float"):
        _loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _plain_number)
    _loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)
    # YAML 1.1, which PyYAML speaks, takes 1e-5 and 2.0e6 for words: it wants a point and a sign.
    _loader.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )


def load_strictly(text: str) -> Any:
    """What a YAML text holds: what ``StrictLoader`` makes of it, mostly by libyaml.

    What libyaml refuses is read once more, so that the words of a refusal are always the same.

    Raises
    ------
    yaml.YAMLError, ValueError, RecursionError
        As ``yaml.load``, and for a key given twice or a number that could be several.
    """
    if not _READ_OTHERWISE.search(text):
        with suppress(yaml.YAMLError, ValueError, RecursionError):
            return yaml.load(text, Loader=FastLoader)
    return yaml.load(text, Loader=StrictLoader)


_REMEMBERED_BYTES = 1 << 16
"""Larger files than descriptions are read once in a run, and would only fill the memory."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    What a small file of the same content held is remembered, and copied for each caller: parsing
    takes most of the time of opening a chip.

    Raises
    ------
    InputError
        If the file is missing, unreadable, not UTF-8, not YAML, or not a mapping, or a number is
        written as no one would read it (``010``, ``1:30``, ``1_000``).
    """
    content = read_bytes(path, count=file_size(path))
    if len(content) > _REMEMBERED_BYTES:
        return _parse_yaml(content, str(path))
    return copy.deepcopy(_remembered_yaml(content, str(path)))


def _parse_yaml(content: bytes, where: str) -> dict[str, Any]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{where}: cannot be read (it is not UTF-8 text)") from None
    try:
        data = load_strictly(text)
    except RecursionError:
        raise InputError(f"{where}: not valid YAML: it is nested too deeply") from None
    except ValueError as error:  # a date that does not exist, an integer of thousands of digits
        raise InputError(f"{where}: not valid YAML: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        problem = getattr(error, "problem", None) or "it does not parse"
        raise InputError(f"{where}: not valid YAML{line}: {problem}") from None
    if not isinstance(data, dict):
        raise InputError(f"{where}: a mapping of sections is expected at the top level")
    return data


_remembered_yaml = functools.lru_cache(maxsize=64)(_parse_yaml)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values without NumPy's types, which strict records do not take for numbers."""
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()}


def check_value(where: str, value: Any, spec: Quantity) -> Any:
    """Check one value against its declaration and return it as int, float or str.

    Raises
    ------
    InputError
        On a wrong type, a unit that is not the declared one, or a value out of bounds.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if spec.choices:
        return check_word(where, value, spec.choices)
    if isinstance(value, str):
        value = read_number(where, value, spec.unit, spec.allowed())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: a number is expected ({spec.allowed()}), not '{value}'")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    _refuse_first(where, np.array([number]), spec)
    return int(number) if spec.integer else number


def check_word(where: str, value: Any, choices: Sequence[Word]) -> Word:
    """One of a few words; upper and lower case are the same.

    Raises
    ------
    InputError
        On another word, with the nearest ones.
    """
    text = str(value)
    if isinstance(value, str):
        for choice in choices:
            if choice.lower() == text.strip().lower():
                return choice
    raise InputError(
        f"{where}: '{text}' is not allowed (one of {', '.join(choices)})"
        f"{did_you_mean(text, choices)}"
    )


def check_values(where: str, values: np.ndarray, spec: Quantity) -> np.ndarray:
    """Check an array of values, one for each design, and return it as it is.

    Raises
    ------
    InputError
        On an array of words or of nothing, or with a value out of bounds; the first one is named.
    """
    if spec.choices:
        raise InputError(f"{where}: one word for all designs is expected ({spec.allowed()})")
    if values.dtype.kind not in "iuf" or not values.size:
        raise InputError(f"{where}: an array of numbers is expected ({spec.allowed()})")
    _refuse_first(where, values, spec)
    return values


def _refuse_first(where: str, values: np.ndarray, spec: Quantity) -> None:
    """Raise for the first value that the declaration does not allow."""

    def refuse(wrong: Any, complaint: str) -> None:
        if np.any(wrong):
            raise InputError(f"{where}: {values[wrong][0]:g} {complaint}")

    if spec.numbers:
        return refuse(~np.isin(values, spec.numbers), f"is not {spec.allowed()}")
    # The smallest and the largest, which are not a number where any is not: no temporary arrays.
    if not (spec.low <= values.min() and values.max() <= spec.high):
        outside = ~((values >= spec.low) & (values <= spec.high))
        refuse(outside, f"is out of range ({spec.allowed()})")
    if spec.integer and values.dtype.kind == "f":
        refuse(values != np.rint(values), f"must be a whole number ({spec.allowed()})")


def read_parameter(where: str, entry: Any, spec: Quantity, setter: str = "") -> Parameter:
    """Validate one ``{value, kind, range, source}`` entry of a file.

    Parameters
    ----------
    setter : name of a file that extends another: kind and source may be left out there, and a bare
        value stands for all; it is then ``set``, by this file.

    Raises
    ------
    InputError
        On unknown keys, a missing source or range, a wrong unit, or a value out of range.
    """
    if setter:
        given = entry if isinstance(entry, Mapping) else {"value": entry}
        entry = {"kind": "set", "source": f"set in {setter}", **given}
    if not isinstance(entry, Mapping):
        raise InputError(
            f"{where}: a parameter is written {{value: …, kind: …, source: …}}, not '{entry}'"
        )
    try:
        parameter = Parameter.model_validate(dict(entry))
    except ValidationError as error:
        field = error.errors(include_url=False)[0]["loc"][0]
        raise InputError(f"{where}.{field}: {what_is_wrong(error)}") from None
    if parameter.unit is not None and parameter.unit != spec.unit:
        raise InputError(f"{where}: the unit is {spec.unit or 'none'}, not {parameter.unit}")
    value = check_value(where, parameter.value, spec)
    bounds = parameter.range
    if parameter.kind in RANGED and bounds is None and not spec.choices:
        raise InputError(f"{where}: a parameter of kind '{parameter.kind}' needs a range")
    if bounds is not None and spec.choices:
        raise InputError(f"{where}.range: a word has none")
    if bounds is not None:
        low, high = bounds
        if not spec.low <= low <= high <= spec.high:
            raise InputError(f"{where}.range: [{low:g}, {high:g}] must lie in {spec.allowed()}")
        if not low <= value <= high:
            raise InputError(f"{where}: {value:g} is outside its own range [{low:g}, {high:g}]")
    if not parameter.source.strip():
        raise InputError(f"{where}: the source is empty")
    return parameter.model_copy(update={"value": value, "unit": spec.unit})


def read_section(
    path: str,
    name: str,
    data: Any,
    section: type[Section],
    names: Iterable[str] = (),
    setters: Mapping[str, str] | None = None,
) -> tuple[Section, dict[str, Parameter]]:
    """Build one section from its mapping in a file.

    Parameters
    ----------
    path : file name, for messages.
    name : dotted prefix of the section, empty at the top level.
    data : the mapping as read.
    section : the dataclass to build.
    names : every dotted name of the file, to say where a parameter of another section belongs.
    setters : by field, the file that states it over one that it extends.

    Returns
    -------
    The section with plain values, and its parameters by field name.
    """
    prefix = f"{path}: {name}." if name else f"{path}: "
    if not isinstance(data, Mapping):
        raise InputError(f"{path}: {name or 'the file'} must be a mapping of parameters")
    known = quantities(section)
    for key in data:
        if key not in known:
            dotted = f"{name}.{key}" if name else str(key)
            hint = did_you_mean(dotted, names or known)
            raise InputError(f"{path}: {dotted} is no known parameter{hint}")
    parameters: dict[str, Parameter] = {}
    for field in dataclasses.fields(section):  # type: ignore[arg-type]
        if field.name in data:
            parameters[field.name] = read_parameter(
                prefix + field.name,
                data[field.name],
                known[field.name],
                (setters or {}).get(field.name, ""),
            )
        elif field.default is dataclasses.MISSING:
            raise InputError(f"{prefix}{field.name} is missing ({known[field.name].meaning})")
    values = {key: parameter.value for key, parameter in parameters.items()}
    return section(**values), parameters


def to_frame(parameters: Mapping[str, Parameter]) -> pd.DataFrame:
    """Parameters by name, with columns ``value, unit, kind, low, high, source``.

    ``low`` and ``high`` are missing where a file states no range.
    """
    import pandas as pd  # noqa: PLC0415 - slow to import, and most programs want no frame

    rows = {
        name: {
            "value": parameter.value,
            "unit": parameter.unit,
            "kind": parameter.kind,
            "low": parameter.range[0] if parameter.range else None,
            "high": parameter.range[1] if parameter.range else None,
            "source": parameter.source,
        }
        for name, parameter in parameters.items()
    }
    frame = pd.DataFrame.from_dict(rows, orient="index").astype({"value": object})
    return frame.rename_axis("parameter")


def is_log(low: float, high: float) -> bool:
    """Whether a range is even on a logarithmic scale: it spans more than a factor of four."""
    return low > 0 and high / low > 4


def at_quantiles(parameter: Parameter, quantiles: np.ndarray) -> np.ndarray:
    """Values of an uncertain parameter at quantiles in [0, 1], before whole numbers are rounded.

    Uniform over the range; log-uniform where the range spans more than a factor of four, so that
    "0.02 to 0.5" does not put nine draws in ten in its upper half. What is not there as filed, a
    value of 0 at the lower end of its range, is not there in every second draw.
    """
    assert parameter.range is not None
    low, high = parameter.range
    if is_log(low, high):
        return np.asarray(np.exp(math.log(low) + math.log(high / low) * quantiles))
    if parameter.value == low == 0:
        quantiles = np.maximum(2 * quantiles - 1, 0)
    return np.asarray(low + (high - low) * quantiles)


def draw(parameter: Parameter, spec: Quantity, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw values of an uncertain parameter, shape ``(size,)``; see ``at_quantiles``."""
    values = at_quantiles(parameter, rng.random(size))
    return np.rint(values) if spec.integer else values
