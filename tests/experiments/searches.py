"""A small study, and what its searches found."""

from __future__ import annotations

from typing import Any

from hardwire.experiments.search.search import Search
from hardwire.experiments.sweep import Study

LANES: dict[str, Any] = {
    "axes": {"datapath.lanes": [8, 12, 16, 24, 32, 48], "datapath.clock_ghz": [1.0, 1.2, 1.4, 1.6]},
    "constraints": ["area_mm2.total <= die_area_mm2", "decode_tokens_per_s_user >= 12000"],
    "objectives": {"decode_tokens_per_s_user": "max", "power_w": "min"},
}


def lanes(**changes: Any) -> Study:
    return Study.from_dict("lanes", {**LANES, **changes})


def designs(found: Search) -> list[tuple[Any, ...]]:
    return list(zip(*(column.tolist() for column in found.columns.values()), strict=True))
