"""A saved folder as one HTML file: no network, readable on a phone, in print and without script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hardwire.experiments.report.calibration import calibration_page
from hardwire.experiments.report.draw import (
    LOADER,
    TEMPLATES,
    fingerprint,
    library,
    packed,
    soft,
    specification,
    svg,
)
from hardwire.experiments.report.formats import formats_page
from hardwire.experiments.report.page import Page
from hardwire.experiments.report.replay import compare_page, replay_page
from hardwire.experiments.report.run import run_page
from hardwire.experiments.report.search import search_page
from hardwire.experiments.report.sensitivity import sensitivity_page
from hardwire.experiments.report.sweep import sweep_page
from hardwire.experiments.report.system import system_page
from hardwire.experiments.run.save import RANKS
from hardwire.experiments.run.timeline import TIMELINE
from hardwire.experiments.shared.configuration import CONFIGURATION
from hardwire.experiments.shared.extras import needs
from hardwire.experiments.shared.folder import read_json, write_text
from hardwire.models.errors import InputError

REPORT = "report.html"


def _run(folder: Path, data: Mapping[str, Any]) -> Page:
    return run_page(
        data,
        _optional(folder / RANKS),
        _optional(folder / TIMELINE),
        _optional(folder / CONFIGURATION),
    )


def _replay(folder: Path, data: Mapping[str, Any]) -> Page:
    return replay_page(data, folder, _optional(folder / CONFIGURATION))


def _compare(folder: Path, data: Mapping[str, Any]) -> Page:
    return compare_page(data, _optional(folder / CONFIGURATION))


def _sweep(folder: Path, data: Mapping[str, Any]) -> Page:
    return sweep_page(data, folder, _optional(folder / CONFIGURATION))


def _search(folder: Path, data: Mapping[str, Any]) -> Page:
    return search_page(data, folder, _optional(folder / CONFIGURATION))


def _sensitivity(folder: Path, data: Mapping[str, Any]) -> Page:
    return sensitivity_page(data, _optional(folder / CONFIGURATION))


def _calibration(folder: Path, data: Mapping[str, Any]) -> Page:
    return calibration_page(data, _optional(folder / CONFIGURATION))


def _system(folder: Path, data: Mapping[str, Any]) -> Page:
    return system_page(data, _optional(folder / CONFIGURATION))


def _formats(folder: Path, data: Mapping[str, Any]) -> Page:
    return formats_page(data)


READERS: Mapping[str, tuple[str, Callable[[Path, Mapping[str, Any]], Page]]] = {
    "verdict.json": ("hardwire run", _run),
    "system.json": ("hardwire run --system", _system),
    "summary.json": ("hardwire replay", _replay),
    "compare.json": ("hardwire compare", _compare),
    "sweep.json": ("hardwire sweep", _sweep),
    "search.json": ("hardwire search", _search),
    "sensitivity.json": ("hardwire sensitivity", _sensitivity),
    "calibration.json": ("hardwire calibrate", _calibration),
    "formats.json": ("hardwire formats", _formats),
}
"""File that a folder is known by: the command that writes it, and what makes its page."""


def read_page(folder: Path) -> Page:
    """The report of a folder that ``--save`` wrote, as a page to render.

    Raises
    ------
    InputError
        If there is no such folder, nothing of ours in it, or a file that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = [name for name in READERS if (folder / name).is_file()]
    if not found:
        commands = ", ".join(f"{command} --save" for command, _ in READERS.values())
        raise InputError(f"{folder}: holds nothing to report on (written by {commands})")
    if len(found) > 1:
        raise InputError(f"{folder}: holds {' and '.join(found)}: save each into its own folder")
    command, reader = READERS[found[0]]
    data = read_json(folder / found[0])
    try:
        return reader(folder, data)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OSError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{folder / found[0]}: is not what {command} --save writes today ({what}): save again"
        ) from None


def render(pages: Sequence[Page]) -> str:
    """Pages as HTML, one under the other.

    Raises
    ------
    InputError
        If jinja2 or vl-convert is not installed.
    """
    jinja2 = needs("jinja2", "the report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["soft"] = soft
    charts, loader = library(), LOADER.read_text(encoding="utf-8")
    text: str = environment.get_template("report.html.j2").render(
        title=" | ".join(page.title for page in pages),
        pages=pages,
        svg=svg,
        specification=specification,
        library=packed(charts),
        script=loader,
        fingerprints=" ".join(f"'{fingerprint(one)}'" for one in (loader, charts)),
    )
    return text


def write_report(folders: Sequence[Path], output: Path | None = None) -> Path:
    """Write the report of one or several folders; it appears whole or not at all.

    Parameters
    ----------
    output : the file to write, by default into the one folder.

    Raises
    ------
    InputError
        As ``read_page``, if the file cannot be written, or if none is named for several folders.
    """
    if not folders:
        raise InputError("a report is of one folder or more, none is named")
    if output is None and len(folders) > 1:
        raise InputError(
            f"a report of {len(folders)} folders lies in none of them: name a file (--output)"
        )
    target = folders[0] / REPORT if output is None else output
    write_text(target, render([read_page(folder) for folder in folders]))
    return target


def _optional(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.is_file() else None
