"""The JSON Schema of studies, for editors, from the tables that the reader of studies goes by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hardwire.experiments.replay.config import config_schema
from hardwire.experiments.replay.meanings import MEANINGS
from hardwire.experiments.replay.options import GOALS, LONGEST_S
from hardwire.experiments.sweep.axis import INTERVAL, MOST_POINTS, RESERVED, SCALES
from hardwire.experiments.sweep.constraint import LONGEST
from hardwire.experiments.sweep.design import NUMERIC, SETTINGS, WORDS
from hardwire.experiments.sweep.fidelity_options import OPTION_WORDS, OPTIONS, PREFIX
from hardwire.experiments.sweep.metrics import METRICS
from hardwire.experiments.sweep.study import (
    FIDELITIES,
    MOST_SAMPLES,
    SAMPLINGS,
    SECTIONS,
)
from hardwire.experiments.sweep.system_settings import LINK, SYSTEM_NUMBERS, SYSTEM_WORDS
from hardwire.models.adapter.adapter import ADAPTER_FORMATS
from hardwire.models.chip import DECLARED
from hardwire.models.schema import Schema, any_case, head, name_of, value_of
from hardwire.models.units import number_pattern

_OF_REPLAYS = {"required": ["fidelity"], "properties": {"fidelity": {"const": "replay"}}}
_OF_SYSTEMS = {"required": ["fidelity"], "properties": {"fidelity": {"const": "system"}}}
_SYSTEMS = (*SYSTEM_NUMBERS, *SYSTEM_WORDS)
_OF_ENGINE = {"required": ["fidelity"], "properties": {"fidelity": {"const": "engine"}}}
_SIDES: Schema = {"enum": ["max", "min", None], "description": "the better side"}


def study_schema() -> Schema:
    """Of study files, which ``sweep`` and ``search`` read."""
    found = head(
        "Study",
        "A base design, axes over its settings, metrics and constraints, for hardwire sweep and "
        "hardwire search.",
    )
    sections: Schema = {
        "title": {"type": "string", "description": "what it asks, in a line"},
        "base": {
            "description": "the chip, and settings that all points share",
            "type": "object",
            "properties": {
                "chip": {"description": "catalogue name, or a path", "type": "string"},
                **{name: {"$ref": f"#/$defs/{name}"} for name in SETTINGS},
            },
            "additionalProperties": False,
        },
        "fidelity": {"description": "how exactly points are computed", "enum": list(FIDELITIES)},
        "sample": {
            "description": "a grid over the axes, or points drawn from them",
            "anyOf": [{"const": "grid"}, *(_sample(kind) for kind in SAMPLINGS[1:])],
        },
        "axes": {
            "description": "what varies, by setting, or by a name of its own with variants",
            "type": "object",
            "minProperties": 1,
            "properties": {name: _axis(name) for name in SETTINGS},
            "additionalProperties": _variants(),
            "propertyNames": {"not": {"pattern": f"^({'|'.join(map(any_case, RESERVED))})$"}},
        },
        "metrics": {"description": "what is shown", "type": "array"},
        "constraints": {
            "description": "comparisons that a feasible point fulfils",
            "type": "array",
            "items": {"type": "string", "pattern": ".(<|>|==).", "maxLength": LONGEST},
        },
        "objectives": {"description": "what a search looks for", "type": ["array", "object"]},
        "replay": _replay(),
    }
    grid = {"properties": {"sample": {"const": "grid"}}}
    others = [name for name in SETTINGS if name not in (*DECLARED, "process", *OPTIONS)]
    return found | {
        "properties": {name: sections[name] for name in SECTIONS},
        "additionalProperties": False,
        "required": ["axes"],
        "allOf": [
            {"if": grid, "then": {"properties": {"axes": {"additionalProperties": _GRIDDED}}}},
            {
                "if": _OF_REPLAYS,
                "then": {
                    **_without([*others, *OPTIONS], others),
                    "anyOf": [
                        {"required": ["replay"], "properties": {"replay": _source()}},
                        {"properties": {"axes": {"required": [f"{PREFIX}source"]}}},
                        {"properties": {"axes": {"not": {"propertyNames": _any_of(SETTINGS)}}}},
                    ],
                },
                "else": {**_without(OPTIONS, OPTIONS), "not": {"required": ["replay"]}},
            },
            {
                "if": _OF_REPLAYS,
                "then": _measured(METRICS["replay"]),
                "else": {
                    "if": _OF_ENGINE,
                    "then": _measured(METRICS["engine"]),
                    "else": {
                        "if": _OF_SYSTEMS,
                        "then": _measured(METRICS["system"]),
                        "else": _measured(METRICS["closed-form"]),
                    },
                },
            },
            {"if": {"not": _OF_SYSTEMS}, "then": _without(_SYSTEMS, _SYSTEMS)},
        ],
        "$defs": {"interval": _interval(), **{name: _setting(name) for name in SETTINGS}},
    }


_GRIDDED: Schema = {
    "not": {"const": "range"},
    "if": {"type": "object", "required": ["from"]},
    "then": {"anyOf": [{"required": ["points"]}, {"required": ["step"]}]},
}
"""An axis of a grid: it has values."""


def _any_of(names: Iterable[str]) -> Schema:
    return {"enum": list(names)}


def _setting(name: str) -> Schema:
    """A value of a setting, as ``check_setting`` takes it."""
    spec = NUMERIC.get(name) or DECLARED.get(name)
    if spec is not None:
        return value_of(spec)
    option = name.removeprefix(PREFIX)
    if option in OPTION_WORDS and name in OPTIONS:
        types = ["string", "boolean", *(["integer"] if option == "adapters" else [])]
        return {"description": MEANINGS[option], "type": types, "anyOf": _options()[option]}
    described = {"description": WORDS[name]}
    if name == "process":
        return described | name_of("process", or_path=False)
    if name == LINK:
        return described | name_of("link", or_path=True)
    if name == "adapter.format":
        return described | {"enum": list(ADAPTER_FORMATS)}
    return described | {"type": ["string", "null"] if name == "adapter" else "string"}


def _axis(name: str) -> Schema:
    """What a study may say of an axis, as ``Axis.read`` takes it."""
    value: Schema = {"$ref": f"#/$defs/{name}"}
    forms = [value, {"type": "array", "items": value, "minItems": 1, "uniqueItems": True}]
    if name in NUMERIC:
        forms.append({"$ref": "#/$defs/interval", "properties": {"from": value, "to": value}})
    if name in DECLARED and name in NUMERIC:
        forms.append({"const": "range", "description": "the range that the chip file states"})
    return {"anyOf": forms}


_ABOVE_0: Schema = {"type": "number", "exclusiveMinimum": 0}


def _interval() -> Schema:
    """``{from: …, to: …}``, whatever the setting is."""
    keys: Schema = {
        "from": {},
        "to": {},
        "points": {
            "description": "values in the interval",
            "type": "integer",
            "minimum": 2,
            "maximum": MOST_POINTS,
        },
        "step": {"description": "from one value to the next", **_ABOVE_0},
        "scale": {"enum": list(SCALES)},
    }
    return {
        "type": "object",
        "properties": {key: keys[key] for key in INTERVAL},
        "additionalProperties": False,
        "required": ["from", "to"],
        "not": {"required": ["points", "step"]},
        "if": {"required": ["scale"], "properties": {"scale": {"const": "log"}}},
        "then": {"not": {"required": ["step"]}},
    }


def _variants() -> Schema:
    settings = {
        "type": "object",
        "minProperties": 1,
        "properties": {name: {"$ref": f"#/$defs/{name}"} for name in SETTINGS},
        "additionalProperties": False,
    }
    return {
        "description": "settings that change together, by the name of each value",
        "type": "object",
        "properties": {
            "variants": {"type": "object", "minProperties": 1, "additionalProperties": settings}
        },
        "additionalProperties": False,
        "required": ["variants"],
    }


def _without(base: Iterable[str], axes: Iterable[str]) -> Schema:
    """Without some settings, which a fidelity does not have, in the base and on axes."""
    on_axes = {"propertyNames": {"not": _any_of(axes)}}
    variants = {"properties": {"variants": {"additionalProperties": on_axes}}}
    return {
        "properties": {
            "base": {"propertyNames": {"not": _any_of(base)}},
            "axes": {**on_axes, "additionalProperties": variants},
        }
    }


def _sample(kind: str) -> Schema:
    return {
        "type": "object",
        "properties": {
            kind: {
                "description": "points",
                "type": "integer",
                "minimum": 1,
                "maximum": MOST_SAMPLES,
            },
            "seed": {"type": "integer", "minimum": 0, "maximum": MOST_SAMPLES},
        },
        "additionalProperties": False,
        "required": [kind],
    }


def _measured(metrics: dict[str, Any]) -> Schema:
    names = _any_of(metrics)
    sides = {"type": "object", "propertyNames": names, "additionalProperties": _SIDES}
    return {
        "properties": {
            "metrics": {"items": names},
            "objectives": {"anyOf": [{"type": "array", "items": names}, sides]},
        }
    }


def _source() -> Schema:
    source = {"required": ["source"], "properties": {"source": {"type": "string"}}}
    return {"type": "object", **source}


def _options() -> dict[str, list[Schema]]:
    """Forms of each option: as in a saved run, some of them also as text."""
    goal = {
        "anyOf": [
            {**_ABOVE_0, "maximum": LONGEST_S},
            {"type": "string", "pattern": number_pattern("s")},
        ]
    }
    goals = {
        "type": "object",
        "properties": {name: goal for name in GOALS},
        "additionalProperties": False,
    }
    one = rf"\s*({'|'.join(GOALS)})\s*=[^,=]+"
    found: dict[str, list[Schema]] = {
        "adapters": [{"type": ["integer", "string"]}],
        "slo": [{"type": "string", "pattern": f"^{one}(,{one})*$"}, goals],
        "adapter_rates": [
            {"type": "string", "pattern": r"^[^,]+(,[^,]+)*$"},
            {"type": "array", "items": _ABOVE_0},
        ],
    }
    saved: Schema = config_schema()["properties"]
    for name in (name.removeprefix(PREFIX) for name in OPTIONS):
        forms = saved[name].get("anyOf", [saved[name]])
        found.setdefault(name, [form for form in forms if form != _NOTHING])
    return found


_NOTHING: Schema = {"type": "null"}


def _replay() -> Schema:
    """The section ``replay``."""
    found: Schema = {}
    for name, forms in _options().items():
        field = {"description": MEANINGS[name], "anyOf": [*forms, _NOTHING]}
        found |= dict.fromkeys((name, name.replace("_", "-")), field)
    return {
        "description": "options of hardwire replay, for that fidelity",
        "type": ["object", "null"],
        "properties": found,
        "additionalProperties": False,
    }
