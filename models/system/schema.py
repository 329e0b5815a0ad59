"""What may stand in a system file, for editors, from what its reader goes by."""

from __future__ import annotations

from hardwire.models.schema import TEXT, Schema, name_of, value_of, word
from hardwire.models.server import LINKS
from hardwire.models.system.placement import COLLECTIVES, HOST, KV_SPLITS, SPLITS
from hardwire.models.system.read import ALL, MOST_DIES, ROUND_ROBIN
from hardwire.models.system.system import MEMORY
from hardwire.models.system.topology import SHAPES

_COUNT: Schema = {"type": "integer", "minimum": 1}
_NAME: Schema = {"type": "string"}


def system_properties() -> Schema:
    """The keys of a system file beside ``title``, ``model`` and ``extends``."""
    chip = {"description": "of dies that name none", **name_of("chip", or_path=True)}
    kind = {"description": "a kind of link", **name_of("link", or_path=True)}
    ends = {"type": "array", "items": _NAME, "minItems": 2, "maxItems": 2}
    return {
        "source": {"description": "where the system is from, and what of it is assumed", **TEXT},
        "chip": chip,
        "dies": {
            "description": "a number of dies, called d0 and so on, or the chip of each by its name",
            "anyOf": [
                {**_COUNT, "maximum": MOST_DIES},
                {
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": {"anyOf": [chip, {"type": "null"}]},
                },
            ],
        },
        "topology": _mapping(
            "links by a shape",
            {
                "shape": {"description": "which dies are linked", **word(SHAPES)},
                "kind": kind,
                "rows": {"description": "of a grid", **_COUNT},
            },
            ["shape", "kind"],
        ),
        "links": {
            "description": "links one by one, beside those of the topology",
            "type": "array",
            "items": _mapping("a link", {"ends": ends, "kind": kind}, ["ends", "kind"]),
        },
        "places": {"description": "tokens that are in flight at most", **_COUNT},
        "host_links": {
            "description": "a link to the host for each die, or one for all",
            **word(LINKS),
        },
        "memory_gib": value_of(MEMORY),
        "collective": {
            "description": "how the dies of a group form a sum that all of them need",
            **word(COLLECTIVES),
        },
        "placement": _mapping(
            "what lies where",
            {
                "stages": {
                    "description": "layers on groups of dies, in order",
                    "type": "array",
                    "minItems": 1,
                    "items": _stage(),
                },
                "embedding": {"description": f"a die, or {HOST}", **_NAME},
                "head": _dies("that share the rows of the LM head; those of the last stage"),
            },
            ["stages"],
        ),
    }


def _stage() -> Schema:
    layer = {"type": "integer", "minimum": 0}
    expert = {"type": "array", "items": layer}
    return _mapping(
        "a stage",
        {
            "layers": {
                "description": "the first and the last",
                "type": "array",
                "items": layer,
                "minItems": 2,
                "maxItems": 2,
            },
            "dies": _dies("of the group"),
            "rows": {"description": "of the group as a grid, its dies row by row", **_COUNT},
            "split": {
                "description": "how a matrix is split over the group, by the matrix's name",
                "type": "object",
                "additionalProperties": {"enum": list(SPLITS)},
            },
            "kv": {"description": "how the KV cache is split", "enum": list(KV_SPLITS)},
            "experts": {
                "description": "where experts lie: in turn, a list for each die, or by the load "
                "of each in a CSV file, a line for each layer",
                "anyOf": [
                    {"const": ROUND_ROBIN},
                    {"type": "array", "items": expert},
                    _mapping("by load", {"load": TEXT}, ["load"]),
                ],
            },
        },
        ["layers", "dies"],
    )


def _dies(what: str) -> Schema:
    return {
        "description": f"names of dies, or {ALL}: {what}",
        "anyOf": [_NAME, {"type": "array", "items": _NAME, "minItems": 1}],
    }


def _mapping(description: str, properties: Schema, required: list[str]) -> Schema:
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "required": required,
    }
