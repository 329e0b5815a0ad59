"""JSON Schemas of chip, process and server files, by the tables of ``read_description``."""

from __future__ import annotations

import dataclasses
from typing import get_args

from hardwire.models import catalogue
from hardwire.models.breakdown import BREAKDOWN
from hardwire.models.calibration import Calibration, Target
from hardwire.models.chip import CHIP, DECLARED, ISSUES
from hardwire.models.description import SERVER_MARKS, FileKind, mark_of
from hardwire.models.gpu import GPU
from hardwire.models.gpu_fit import Domain, Fitted
from hardwire.models.gpu_parts import ENGINE
from hardwire.models.gpu_server import GPU_SERVER, PARTS_SERVER
from hardwire.models.parameters import RANGED, Kind, Quantity, quantities
from hardwire.models.process import PROCESS
from hardwire.models.schema import TEXT, Schema, head, name_of, of_record, value_of, word
from hardwire.models.server import SERVER
from hardwire.models.server_of_systems import SYSTEM_SERVER
from hardwire.models.server_split import SPLIT_SERVER
from hardwire.models.system.link import LINK
from hardwire.models.system.schema import system_properties
from hardwire.models.system.system import SYSTEM

_KINDS = {
    "published": "quoted from the source",
    "derived": "arithmetic on published numbers",
    "assumed": "not published; needs a range",
    "calibrated": "fitted to the measurement under calibration; needs a range",
    "measured": "read off your own profile",
    "set": "chosen, no claim about a real chip",
}
_BY_PATH = ("chip", "server", "link", "system")
"""Kinds of files that may extend one that is not in the catalogue."""

_NAMES = {
    "": "server-of-cards",
    GPU_SERVER.marked: "server-of-gpus",
    PARTS_SERVER.marked: "server-of-parts",
    SYSTEM_SERVER.marked: "server-of-systems",
    SPLIT_SERVER.marked: "server-disaggregated",
}
MARKS = {
    GPU_SERVER.marked: "a GPU server whose times were measured",
    PARTS_SERVER.marked: "a GPU server whose times follow from its parts",
    SYSTEM_SERVER.marked: "a server of systems of several dies",
    SPLIT_SERVER.marked: "prompts on GPUs, decoding on hardwired cards",
}
"""What server files say under ``kind``, and what it means."""
_NO_CALIBRATED: Schema = {
    "not": {"type": "object", "required": ["kind"], "properties": {"kind": {"const": "calibrated"}}}
}


def chip_schema() -> Schema:
    """Of chip files."""
    found = head(
        "Chip file",
        "A chip whose base model is cast in silicon. A file that extends another one states only "
        "what differs.",
    )
    found |= _file(CHIP)
    calibration = of_record(Calibration)
    calibration["properties"]["parameter"] |= {"enum": list(DECLARED)}
    found["properties"] |= {
        "calibration": {
            "description": "the one measurement that the parameter of kind calibrated is fitted "
            "to; null where a file that extends a measured chip is fitted to none",
            "anyOf": [calibration, {"type": "null"}],
        },
        "target": {
            "description": "the rate that was announced of this chip with its own model",
            **of_record(Target),
        },
    }
    sections = list(CHIP.sections)
    found["then"] |= {
        "if": {
            "not": {
                "required": ["calibration"],
                "properties": {"calibration": {"type": "object"}},
            }
        },
        "then": {
            "properties": {name: {"additionalProperties": _NO_CALIBRATED} for name in sections}
        },
    }
    return found


def process_schema() -> Schema:
    """Of process files."""
    return head("Process file", "Technology constants of a silicon process.") | _file(PROCESS)


def breakdown_schema() -> Schema:
    """Of breakdown files."""
    return head(
        "Breakdown file",
        "A chip by its blocks, for their areas and powers: one that is not timed here.",
    ) | _file(BREAKDOWN)


def gpu_schema() -> Schema:
    """Of GPU files."""
    return head("GPU file", "A GPU's data sheet, and how much of it programs reach.") | _file(GPU)


def link_schema() -> Schema:
    """Of files of kinds of links."""
    return head(
        "Link file", "A kind of link between dies. A file that extends another states what differs."
    ) | _file(LINK)


def system_schema() -> Schema:
    """Of files of systems of several dies."""
    found = head(
        "System file",
        "Dies, the links between them, and where a model lies on them. A file that extends another "
        "one states only what differs.",
    ) | _file(SYSTEM)
    found["properties"] |= system_properties()
    found["then"]["required"] += ["source", "dies", "placement"]
    found["then"] |= {  # a number of dies are all of the file's chip
        "if": {"properties": {"dies": {"type": "integer"}}},
        "then": {"required": ["chip"]},
    }
    return found


def engine_schema() -> Schema:
    """Of the files of serving engines."""
    return head("Engine file", "The defaults of a serving engine on GPUs.") | _file(ENGINE)


def server_schema() -> Schema:
    """Of server files, of hardwired cards and of GPUs, which say ``kind: batch`` or ``parts``."""
    found = head(
        "Server file",
        "A server of cards of one hardwired chip; with kind: batch a GPU server whose times were "
        "measured, with kind: parts one whose times follow from its parts; with kind: system a "
        "server of systems of several dies; with kind: disaggregated one that computes prompts on "
        "GPUs and decodes on hardwired cards. A file that extends "
        "another one states only what differs.",
    )
    cards, gpus, parts = _file(SERVER), _file(GPU_SERVER), _file(PARTS_SERVER)
    cards["properties"]["issue"] = {
        "description": "instead of the chip's own; null for the chip's own",
        "anyOf": [*word(ISSUES)["anyOf"], {"type": "null"}],
    }
    gpus["properties"] |= {
        "fit": {
            "description": "what a fit says of the values that were fitted together",
            "anyOf": [of_record(Fitted), {"type": "null"}],
        },
        "domain": {
            "description": "what the measurements behind the step times span",
            "anyOf": [of_record(Domain), {"type": "null"}],
        },
    }
    systems, split = _file(SYSTEM_SERVER), _file(SPLIT_SERVER)
    systems["properties"]["issue"] = cards["properties"]["issue"]
    by_mark = {"": cards, GPU_SERVER.marked: gpus, PARTS_SERVER.marked: parts}
    by_mark |= {SYSTEM_SERVER.marked: systems, SPLIT_SERVER.marked: split}
    shared: Schema = {}
    for mark, of in by_mark.items():
        if mark:
            of["properties"]["kind"] = {"const": mark, "description": MARKS[mark]}
        for name, found_of in of.pop("$defs", {}).items():
            assert shared.setdefault(name, found_of) == found_of, name
    names = {mark: [] for mark in by_mark}  # type: dict[str, list[str]]
    for name in catalogue.names("server"):
        names[mark_of(catalogue.resolve("server", name), "server")].append(name)
    extends = {
        of: {"required": ["extends"], "properties": {"extends": word(known)}}
        for of, known in names.items()
        if known
    }
    refs = {mark: f"#/$defs/{_NAMES[mark]}" for mark in by_mark}
    # A file that extends one by its path is of that one's kind, whichever it is.
    rest: Schema = {"anyOf": [{"$ref": ref} for ref in refs.values()]}
    for mark, given in reversed(extends.items()):
        rest = {"if": given, "then": {"$ref": refs[mark]}, "else": rest}
    for mark in reversed(SERVER_MARKS):
        says = {"required": ["kind"], "properties": {"kind": {"const": mark}}}
        rest = {"if": says, "then": {"$ref": refs[mark]}, "else": rest}
    nothing = {"not": {"anyOf": [{"required": ["extends"]}, {"required": ["kind"]}]}}
    found |= {
        "if": nothing,
        "then": {"$ref": refs[""]},
        "else": rest,
        "$defs": {**shared, **{_NAMES[mark]: of for mark, of in by_mark.items()}},
    }
    # For an editor, which offers what stands here before it can tell which of them it is.
    found["properties"] = {
        name: of for one in reversed(by_mark.values()) for name, of in one["properties"].items()
    }
    marks = {
        "enum": list(SERVER_MARKS),
        "description": "; ".join(f"{mark}: {words}" for mark, words in MARKS.items()),
    }
    found["properties"]["kind"] = marks
    return found


def _file(kind: FileKind) -> Schema:
    """What ``read_description`` reads of a kind; others are left to the caller."""
    properties: Schema = {
        "extends": {
            "description": f"the {kind.catalogue} that this one changes: a name of the catalogue"
            + (", or a path" if kind.catalogue in _BY_PATH else ""),
            **name_of(kind.catalogue, or_path=kind.catalogue in _BY_PATH),
        },
        "title": {"type": "string", "description": "what it is, in a line"},
    }
    for key, of in kind.references.items():
        path = key in kind.files
        properties[key] = {
            "description": f"a {of} of the catalogue{', or a path' if path else ''}",
            **name_of(of, or_path=path),
        }
    shared: Schema = {
        "stated": {"type": "object", "required": ["kind", "source"]},
        "kind": {
            "description": "; ".join(f"{name}: {_KINDS[name]}" for name in get_args(Kind)),
            "enum": list(get_args(Kind)),
        },
        "source": {"description": "where the value comes from, or its reason", **TEXT},
    }
    whole: Schema = {}
    needed = ["title", *kind.references]
    for name, section in kind.sections.items():
        required = [f.name for f in dataclasses.fields(section) if f.default is dataclasses.MISSING]
        inner: Schema = {}
        for field, spec in quantities(section).items():
            dotted = f"{name}.{field}" if name else field
            value = {"$ref": f"#/$defs/{dotted}"}
            shared[dotted] = value_of(spec)
            shared[f"{dotted}:stated"] = _parameter(spec, value)
            inner[field] = {
                "description": shared[dotted]["description"],
                "anyOf": [value, {"$ref": f"#/$defs/{dotted}:stated"}],
            }
        if name:
            properties[name] = {
                "description": (section.__doc__ or "").partition("\n")[0],
                "type": "object",
                "properties": inner,
                "additionalProperties": False,
            }
            whole[name] = {"required": required, "additionalProperties": {"$ref": "#/$defs/stated"}}
            needed += [name] if required else []
        else:
            properties |= inner
            whole |= {field: {"$ref": "#/$defs/stated"} for field in inner}
            needed += required
    if kind.marked:
        needed.append("kind")
    return {
        "properties": properties,
        "additionalProperties": False,
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": needed, "properties": whole},
        "$defs": shared,
    }


def _parameter(spec: Quantity, value: Schema) -> Schema:
    """A parameter with its origin, as ``read_parameter`` takes it."""
    nothing: Schema = {"type": "null"}
    unit: Schema = {"enum": [spec.unit, None], "description": "as declared, if it is said at all"}
    found: Schema = {
        "type": "object",
        "properties": {
            "value": value,
            "kind": {"$ref": "#/$defs/kind"},
            "source": {"$ref": "#/$defs/source"},
            "range": nothing,
            "unit": unit,
        },
        "required": ["value"],
        "additionalProperties": False,
    }
    if not spec.choices:
        limit = {"type": "number", "minimum": spec.low, "maximum": spec.high}
        limits = {"type": "array", "items": limit, "minItems": 2, "maxItems": 2}
        found["properties"]["range"] = {
            "description": "from and to, in the unit: what the value may really be",
            "anyOf": [limits, nothing],
        }
        found |= {
            "if": {"required": ["kind"], "properties": {"kind": {"enum": list(RANGED)}}},
            "then": {"required": ["range"], "properties": {"range": {"type": "array"}}},
        }
    return found
