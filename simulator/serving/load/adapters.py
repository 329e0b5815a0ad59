"""The adapters of a server: a number of equal ones, or a catalogue file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardwire.models.adapter.adapter import ADAPTER_FORMATS, Adapter
from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import read_yaml
from hardwire.models.schema import TEXT, Schema, any_case, head
from hardwire.simulator.serving.load.popularity import Popularity, Uniform, Weighted
from hardwire.simulator.serving.load.workload import BASE, Workload

MOST_ADAPTERS = 1_000_000
HEAVIEST = 1e9
"""The largest weight."""
_KEYS = {
    "name": "as requests name it",
    "shape": "an adapter without weights, such as r16:all-linear or r16:q_proj+v_proj:int8",
    "path": "a PEFT folder or a .gguf file, relative to this file",
    "weight": "relative popularity; 1 if not given",
    "pinned": "never evicted; false if not given",
}


_FORMATS = "|".join(any_case(name) for name in ADAPTER_FORMATS)


@dataclass(frozen=True)
class AdapterSet:
    """Adapters that a server offers, each under a name.

    Attributes
    ----------
    names : names in the order of the file; a workload's adapters are numbered in this order.
    adapters : the adapter of each name. Those of equal shape share one object.
    weights : relative popularity of each, or None where the catalogue states none.
    pinned : names of those that are never evicted.
    """

    names: tuple[str, ...]
    adapters: tuple[Adapter, ...]
    weights: tuple[float, ...] | None = None
    pinned: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def open(cls, text: str, model: LanguageModel, rank: int = 16) -> AdapterSet:
        """Return the adapters that a user means: a number, or the path of a catalogue file.

        Parameters
        ----------
        text : str
            ``64`` for adapters of equal shape, or a path.
        model : LanguageModel
            What the adapters are for.
        rank : int
            Of equal adapters.

        Raises
        ------
        InputError
            As `equal` and `from_file`.
        """
        text = text.strip()
        digits = text.removeprefix("-")
        if digits.isascii() and digits.isdigit():
            # Nine digits are too many already, and int() refuses very long numbers its own way.
            return cls.equal(int(text) if len(text) <= 9 else MOST_ADAPTERS + 1, model, rank)
        return cls.from_file(text, model)

    @classmethod
    def equal(cls, count: int, model: LanguageModel, rank: int = 16) -> AdapterSet:
        """``count`` adapters a000, a001, … of one rank on all linear layers.

        Their format in SRAM is left to the chip. Zero is the base model alone.

        Raises
        ------
        InputError
            If the count or the rank is out of range.
        """
        if not 0 <= count <= MOST_ADAPTERS:
            raise InputError(f"adapters: must be 0 to {MOST_ADAPTERS}")
        shape = Adapter.from_shape(f"r{rank}:all-linear", model)
        return cls(tuple(f"a{number:03d}" for number in range(count)), (shape,) * count)

    @classmethod
    def from_file(cls, path: str | Path, model: LanguageModel) -> AdapterSet:
        """Read a catalogue file.

        A YAML mapping with one key, ``adapters``: a list of mappings with ``name``, either
        ``shape`` (as in `Adapter.from_shape`) or ``path`` (a PEFT folder or a .gguf file, relative
        to the catalogue file) and, optionally, ``weight`` (relative popularity, 1 if not given) and
        ``pinned`` (false if not given).

        Raises
        ------
        InputError
            If the file or an adapter cannot be read, a key is unknown, missing or of a wrong kind,
            or a name is given twice. The sentence names the field, as in ``adapters[3].weight``.
        """
        path = Path(path)
        data = read_yaml(path)
        for key in data:
            if key != "adapters":
                raise InputError(
                    f"{path}: {key} is no known key{did_you_mean(str(key), ['adapters'])}"
                )
        entries = data.get("adapters")
        if not isinstance(entries, list) or not entries:
            raise InputError(f"{path}: adapters: must be a list with at least one adapter")
        if len(entries) > MOST_ADAPTERS:
            raise InputError(f"{path}: adapters: has more than {MOST_ADAPTERS} entries")
        seen: dict[str, int] = {}
        opened: dict[tuple[str, str], Adapter] = {}
        adapters, weights, pinned = [], [], []
        for number, entry in enumerate(entries):
            where = f"{path}: adapters[{number}]"
            name = _check_entry(where, entry)
            if name in seen:
                raise InputError(
                    f"{where}.name: '{name}' is the name of adapters[{seen[name]}] already"
                )
            seen[name] = number
            adapters.append(_adapter(where, entry, path.parent, model, opened))
            weights.append(_weight(where, entry.get("weight", 1.0)))
            if entry.get("pinned", False):
                pinned.append(name)
        if not sum(weights):
            raise InputError(f"{path}: adapters: every weight is 0, so none is ever wanted")
        stated = any("weight" in entry for entry in entries)
        return cls(tuple(seen), tuple(adapters), tuple(weights) if stated else None, tuple(pinned))

    def popularity(self) -> Popularity:
        """The popularity that the catalogue states: its weights, or all alike."""
        return Uniform() if self.weights is None else Weighted(self.weights)

    def bind(self, workload: Workload) -> Workload:
        """Number the adapters that a workload names as this set does.

        Raises
        ------
        InputError
            If the workload names an adapter that is not in the set.
        """
        places = {name: place for place, name in enumerate(self.names)}
        for name in workload.adapters:
            if name not in places:
                request = int(np.argmax(workload.adapter == workload.adapters.index(name)))
                raise InputError(
                    f"{workload.name}: request {request + 1}, adapter: '{name:.60}' is not in the "
                    f"catalogue of {len(self)} adapters{did_you_mean(name, self.names)}"
                )
        # One more at the end, where BASE, which is -1, finds itself.
        table = np.array([*(places[name] for name in workload.adapters), BASE], dtype=np.int32)
        return workload.with_adapters(self.names, table[workload.adapter])


def adapters_schema() -> Schema:
    """The JSON Schema of catalogue files of adapters."""
    found = head("Adapter catalogue", "The adapters that a server offers.")
    entries = {
        "name": TEXT,
        "shape": {"type": "string", "pattern": rf"^\s*[rR][0-9]+:[^:]+(:({_FORMATS}))?\s*$"},
        "path": TEXT,
        "weight": {"type": "number", "minimum": 0, "maximum": HEAVIEST},
        "pinned": {"type": "boolean"},
    }
    entry = {
        "type": "object",
        "properties": {key: {"description": _KEYS[key], **entries[key]} for key in _KEYS},
        "additionalProperties": False,
        "required": ["name"],
        "oneOf": [{"required": ["shape"]}, {"required": ["path"]}],
    }
    adapters = {"type": "array", "items": entry, "minItems": 1, "maxItems": MOST_ADAPTERS}
    return found | {
        "properties": {"adapters": adapters},
        "additionalProperties": False,
        "required": ["adapters"],
    }


def _check_entry(where: str, entry: Any) -> str:
    """Check the keys of an entry and return its name."""
    if not isinstance(entry, dict):
        raise InputError(f"{where}: must be written {{name: …, shape: …}}, not '{entry!s:.40}'")
    for key in entry:
        if key not in _KEYS:
            raise InputError(f"{where}.{key}: is no known key{did_you_mean(str(key), _KEYS)}")
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where}.name: must be a name, in quotes if it is a number or a word")
    if ("shape" in entry) == ("path" in entry):
        raise InputError(f"{where}: needs either a shape or a path")
    if not isinstance(entry.get("pinned", False), bool):
        raise InputError(f"{where}.pinned: must be true or false, not '{entry['pinned']!s:.40}'")
    return name.strip()


def _adapter(
    where: str,
    entry: dict[str, Any],
    folder: Path,
    model: LanguageModel,
    opened: dict[tuple[str, str], Adapter],
) -> Adapter:
    kind = "shape" if "shape" in entry else "path"
    text = entry[kind]
    if not isinstance(text, str) or not text.strip():
        example = "r16:all-linear" if kind == "shape" else "a folder or a .gguf file"
        raise InputError(f"{where}.{kind}: must be text, as in {example}, not '{text!s:.40}'")
    key = kind, text.strip().lower() if kind == "shape" else text
    if key not in opened:
        try:
            if kind == "shape":
                opened[key] = Adapter.from_shape(text, model)
            else:
                opened[key] = Adapter.open(folder / text, model)
        except InputError as error:
            raise InputError(f"{where}.{kind}: {error}") from None
    return opened[key]


def _weight(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}.weight: must be a number, not '{value!s:.40}'")
    if not 0 <= value <= HEAVIEST:
        raise InputError(f"{where}.weight: must be 0 to 1e9")
    return float(value)
