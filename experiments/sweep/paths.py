"""Paths in a study, which start from the study's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardwire.experiments.shared.inputs import adapter_files
from hardwire.experiments.sweep.fidelity_options import PREFIX
from hardwire.simulator.serving.load.synthetic import preset_names


def beside(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A study's mapping with relative paths that start from the study's folder.

    What is a name of the catalogue, a shape, a number or a preset stays as it is.
    """

    def placed(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            if isinstance(variants := value.get("variants"), Mapping):
                moved = {label: each(some) for label, some in variants.items()}
                return {**value, "variants": moved}
            return value
        if isinstance(value, list):
            return [placed(name, one) for one in value]
        is_path = isinstance(value, str) and _is_path(name, value, folder)
        return str(folder / value) if is_path else value

    def each(some: Any, prefix: str = "") -> Any:
        if not isinstance(some, Mapping):
            return some
        return {k: placed(prefix + str(k).replace("-", "_"), v) for k, v in some.items()}

    sections = {"base": "", "axes": "", "replay": PREFIX}
    return {k: each(v, sections[k]) if k in sections else v for k, v in data.items()}


def _is_path(name: str, text: str, folder: Path) -> bool:
    if name in ("chip", "model", "replay.server", "replay.chip"):
        ending = (".json",) if name == "model" else (".yaml", ".yml")
        looks_so = text.lower().endswith(ending) or "/" in text or "\\" in text
        return looks_so or (name == "model" and (folder / text).is_dir())
    if name == "adapter":
        return bool(adapter_files(text, folder))
    if name == "replay.source":
        written_so = bool({"/", "."} & set(text)) or (folder / text).exists()
        return written_so and text not in preset_names()
    if name == "replay.adapters":
        return not text.strip().removeprefix("-").isdigit()
    return name == "replay.client_rates"
