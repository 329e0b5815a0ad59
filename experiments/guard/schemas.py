"""Every JSON Schema as its file ships it: each is made beside the reader of its kind."""

from __future__ import annotations

from collections.abc import Callable

from hardwire.experiments.replay.config import config_schema
from hardwire.experiments.sweep.schema import study_schema
from hardwire.models.description_schema import (
    breakdown_schema,
    chip_schema,
    engine_schema,
    gpu_schema,
    link_schema,
    process_schema,
    server_schema,
    system_schema,
)
from hardwire.models.published import published_schema
from hardwire.models.schema import ENDING, Schema, write
from hardwire.simulator.serving.load.adapters import adapters_schema

KINDS: dict[str, Callable[[], Schema]] = {
    "adapters": adapters_schema,
    "breakdown": breakdown_schema,
    "chip": chip_schema,
    "config": config_schema,
    "engine": engine_schema,
    "gpu": gpu_schema,
    "link": link_schema,
    "process": process_schema,
    "published": published_schema,
    "server": server_schema,
    "study": study_schema,
    "system": system_schema,
}


def render() -> dict[str, str]:
    """The files of ``models/schemas`` by name."""
    return {f"{kind}{ENDING}": write(make()) for kind, make in KINDS.items()}
