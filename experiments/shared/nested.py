"""Values of nested objects by dotted names: ``ttft_s.p99``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def at(data: Mapping[str, Any], name: str) -> Any:
    """The value; KeyError where there is none."""
    item: Any = data
    for key in name.split("."):
        item = item[key]
    return item


def at_or_none(data: Mapping[str, Any], name: str) -> Any:
    """The value; None where there is none, as where a part is None."""
    item: Any = data
    for key in name.split("."):
        item = item.get(key) if isinstance(item, Mapping) else None
    return item
