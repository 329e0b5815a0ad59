"""A system as the text of a file that ``System.open`` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hardwire.models.schema import editor_line
from hardwire.models.system.placement import COLLECTIVES, Stage, dealt
from hardwire.models.system.read import ROUND_ROBIN, die_names, usual_kv
from hardwire.models.system.system import System


def system_text(
    system: System,
    folder: Path,
    *,
    chips: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
    model: str = "",
) -> str:
    """The text of a system's file.

    Parameters
    ----------
    folder : where the file will lie, for the line that names its schema.
    chips, links : how the file names a chip or a kind of link, by its name, where it is not that.
    model : how the file names the model, where it is not its name.
    """
    named, kinds = chips or {}, links or {}
    names = [die.name for die in system.dies]

    def chip(number: int) -> str:
        name = system.dies[number].chip.name
        return _word(named.get(name, name))

    lines = [editor_line("system", folder), f"title: {_word(system.title)}"]
    lines += [f"source: {_word(system.source)}", f"model: {_word(model or system.model.name)}"]
    if system.alike and names == die_names(len(names)):
        lines += [f"chip: {chip(0)}", f"dies: {len(names)}"]
    else:
        lines.append("dies:")
        lines += [f"  {_word(name)}: {chip(number)}" for number, name in enumerate(names)]
    if system.links:
        lines.append("links:")
        lines += [
            f"  - {{ends: {_words(link.ends)}, kind: {_word(kinds.get(name, name))}}}"
            for link in system.links
            for name in (link.kind.name,)
        ]
    if system.places is not None:
        lines.append(f"places: {system.places}")
    lines.append(f"host_links: {system.host_links}")
    if system.memory_gib:
        lines.append(f"memory_gib: {system.memory_gib:g}")
    if system.collective != COLLECTIVES[0]:
        lines.append(f"collective: {system.collective}")
    lines += ["placement:", "  stages:"]
    usual = usual_kv(system.model)
    lines += [f"    - {_stage(stage, usual)}" for stage in system.placement.stages]
    lines.append(f"  embedding: {_word(system.placement.embedding)}")
    lines.append(f"  head: {_words(system.placement.head)}")
    return "\n".join(lines) + "\n"


def _stage(stage: Stage, usual: str) -> str:
    layers = stage.layers
    parts = [f"layers: [{layers.start}, {layers.stop - 1}]", f"dies: {_words(stage.dies)}"]
    if stage.rows > 1:
        parts.append(f"rows: {stage.rows}")
    if stage.split:
        split = ", ".join(f"{name}: {how}" for name, how in stage.split.items())
        parts.append(f"split: {{{split}}}")
    if len(stage.dies) > 1 or stage.kv != usual:
        parts.append(f"kv: {stage.kv}")
    if len(stage.dies) > 1 and stage.experts:
        parts.append(f"experts: {_experts(stage)}")
    return f"{{{', '.join(parts)}}}"


def _experts(stage: Stage) -> str:
    """Experts by die where all layers of the stage have them alike, as a file can say it."""
    (places,) = set(stage.experts.values())
    dies = len(stage.dies)
    if places == dealt(len(places), dies):
        return ROUND_ROBIN
    held = [[expert for expert, at in enumerate(places) if at == die] for die in range(dies)]
    return json.dumps(held)


def _words(words: Sequence[str]) -> str:
    return f"[{', '.join(_word(word) for word in words)}]"


def _word(text: str) -> str:
    """A text in quotes where YAML might take it for something else."""
    plain = text.replace("-", "").replace("_", "").isalnum() and not text[0].isdigit()
    return text if plain and text.isascii() else json.dumps(text, ensure_ascii=False)
