"""The written pages of the manual: docs/chips.md, of all parameters, from the declarations and
the YAML files, docs/validation.md with its figure from the committed table, the tables of
docs/serving-study.md, docs/scaling-study.md and docs/area-power-cost.md, and what the commands of
docs/first-evening.md print; docs/glossary.md; and the JSON Schemas of models/schemas.

``python -m hardwire.experiments.guard.pages`` rewrites them; with ``--check`` it only says
whether one is out of date, and exits with 1 if so. The figure is not compared: other versions of
Matplotlib draw other bytes. Nor is the evening, whose commands take half a minute: a test walks it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hardwire.experiments.guard import evening, glossary, power_page, schemas
from hardwire.experiments.studies import scaling_page, serving_page
from hardwire.experiments.validation import page as validation_page
from hardwire.experiments.validation.committed import read_table
from hardwire.models import catalogue, schema
from hardwire.models.breakdown import BREAKDOWN, Breakdown
from hardwire.models.chip import DECLARED, SECTIONS, Chip
from hardwire.models.description import read_description
from hardwire.models.gpu import Gpu, GpuSheet
from hardwire.models.gpu_parts import ENGINE, EngineDefaults
from hardwire.models.gpu_server import Batching, BatchServer
from hardwire.models.parameters import Parameter, Quantity, quantities, read_yaml
from hardwire.models.process import PROCESS, Process
from hardwire.models.server import Machine, Server
from hardwire.models.server_of_systems import SystemServer
from hardwire.models.server_split import Handover, SplitServer
from hardwire.models.system.link import LinkKind, LinkSheet
from hardwire.simulator.serving.replay import open_server

DOCS = Path(__file__).resolve().parents[2] / "docs"

INTRODUCTION = """\
# Chips, processes, GPUs and servers

<!-- Written by `python -m hardwire.experiments.guard.pages` from models/; change the YAML files
instead. -->

Every parameter of every file in the catalogue, as the models use it. Its kind says where it comes
from:

- **published**: quoted from the source;
- **derived**: arithmetic on published numbers;
- **assumed**: not published; the source gives the reason for the value and its range;
- **calibrated**: fitted to the one measurement that the chip's calibration names;
- **measured**: read off a profile of whoever wrote the file.

The intervals of a verdict come from the ranges. Any parameter of a chip or of its process can be
set for one run, within the allowed values: `hardwire run --set sram.capacity_mib=512`, or
`--set process.sram_pj_per_byte=0.8`.
"""

COLUMNS = ("Parameter", "Value", "Unit", "Kind", "Range", "Meaning", "Source")


def render() -> dict[str, str]:
    """The pages as Markdown, by file name."""
    study = (DOCS / serving_page.PAGE).read_text(encoding="utf-8")
    scaling = (DOCS / scaling_page.PAGE).read_text(encoding="utf-8")
    power = (DOCS / power_page.PAGE).read_text(encoding="utf-8")
    return {
        "chips.md": chips(),
        glossary.PAGE: glossary.render(),
        "validation.md": validation_page.render(read_table()),
        serving_page.PAGE: serving_page.render(study),
        scaling_page.PAGE: scaling_page.render(scaling),
        power_page.PAGE: power_page.render(power),
    }


def chips() -> str:
    """The page of parameters as Markdown."""
    parts = [INTRODUCTION]
    parts += [_chip(name) for name in catalogue.names("chip")]
    parts.append("## Processes\n")
    parts += [_process(name) for name in catalogue.names("process")]
    parts.append("## Chips by their blocks\n")
    parts += [_breakdown(name) for name in catalogue.names("breakdown")]
    parts.append("## GPUs\n")
    parts += [_gpu(name) for name in catalogue.names("gpu")]
    parts.append("## Links\n")
    parts += [_link(name) for name in catalogue.names("link")]
    parts.append("## Engines\n")
    parts += [_engine(name) for name in catalogue.names("engine")]
    parts.append("## Servers\n")
    parts += [_server(name) for name in catalogue.names("server")]
    parts += ["## Allowed values\n", _allowed()]
    return "\n".join(parts)


def _chip(name: str) -> str:
    chip = Chip.open(name)
    stated = read_yaml(catalogue.resolve("chip", name))
    lines = [f"## `{name}`: {chip.title}", ""]
    lines += [f"Model `{chip.model}`, process [`{chip.process_name}`](#{chip.process_name}).", ""]
    if parent := stated.get("extends"):
        lines += [f"Extends `{parent}`: what is not listed here is as there.", ""]
    if chip.calibration is not None:
        fit = chip.calibration
        lines += [
            f"Calibrated: `{fit.parameter}`, so that the mean decode step is "
            f"{fit.value * 1e6:.4g} µs ± {fit.relative_error:.1%} at {fit.prompt} prompt and "
            f"{fit.output} output tokens. {_sentence(fit.source)}",
            "",
        ]
    for section in SECTIONS:
        here = {
            key: chip.parameters[f"{section}.{key}"]
            for key in quantities(SECTIONS[section])
            if key in stated.get(section, {})
        }
        if here and section != "process":
            lines += [f"### {name}: {section}", "", *_table(here, SECTIONS[section]), ""]
    return "\n".join(lines)


def _process(name: str) -> str:
    found = read_description(catalogue.resolve("process", name), PROCESS)
    table = _table(found.parameters, Process)
    lines = [f"### {name}", "", _sentence(found.title), "", *table, ""]
    return "\n".join(lines)


def _breakdown(name: str) -> str:
    chip = Breakdown.open(name)
    process = f"Process [`{chip.process_name}`](#{chip.process_name})."
    lines = [f"### {name}", "", f"{_sentence(chip.title)} {process}", ""]
    for group, section in BREAKDOWN.sections.items():
        stated = {key: chip.parameters[f"{group}.{key}"] for key in quantities(section)}
        lines += [f"#### {name}: {group}", "", *_table(stated, section), ""]
    return "\n".join(lines)


def _gpu(name: str) -> str:
    gpu = Gpu.open(name)
    table = _table(gpu.parameters, GpuSheet)
    return "\n".join([f"### {name}", "", _sentence(gpu.title), "", *table, ""])


def _link(name: str) -> str:
    kind = LinkKind.open(name)
    table = _table(kind.parameters, LinkSheet)
    return "\n".join([f"### {name}", "", _sentence(kind.title), "", *table, ""])


def _engine(name: str) -> str:
    found = read_description(catalogue.resolve("engine", name), ENGINE)
    table = _table(found.parameters, EngineDefaults)
    return "\n".join([f"### {name}", "", _sentence(found.title), "", *table, ""])


def _server(name: str) -> str:
    if read_yaml(catalogue.resolve("server", name)).get("kind") == "batch":
        gpus = BatchServer.open(name)
        about = f"{_sentence(gpus.title)} Model `{gpus.model.name}`."
        table = _table(gpus.parameters, Batching)
    elif isinstance(server := open_server(name), SplitServer):
        about = f"{_sentence(server.title)} Prompts `{server.prefill.name}`, the rest "
        about += f"`{server.decode.name}`, over `{server.link.name}`."
        table = _table(server.parameters, Handover)
    elif isinstance(server, SystemServer):
        about = f"{_sentence(server.title)} System `{server.system.name}`."
        table = _table(server.parameters, Machine)
    else:
        assert isinstance(server, Server)
        about = f"{_sentence(server.title)} Chip `{server.chip}`."
        if server.issue is not None:
            about += f" Issue `{server.issue}`."
        table = _table(server.parameters, Machine)
    lines = [f"### {name}", "", about, "", *table, ""]
    return "\n".join(lines)


def _allowed() -> str:
    rows = ([f"`{name}`", spec.meaning, spec.allowed()] for name, spec in DECLARED.items())
    return "\n".join([*_markdown(("Parameter", "Meaning", "Allowed"), rows), ""])


def _table(parameters: Mapping[str, Parameter], section: type) -> list[str]:
    declared: dict[str, Quantity] = quantities(section)
    rows = []
    for name, parameter in parameters.items():
        limits = parameter.range
        rows.append(
            [
                f"`{name}`",
                _number(parameter.value),
                declared[name].unit,
                parameter.kind,
                "" if limits is None else f"{_number(limits[0])} to {_number(limits[1])}",
                declared[name].meaning,
                parameter.source,
            ]
        )
    return _markdown(COLUMNS, rows)


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    table = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]


def _number(value: float | int | str) -> str:
    return value if isinstance(value, str) else f"{value:.10g}"


def _sentence(text: str) -> str:
    """The text with a capital letter and a full stop; names in lower case stay as they are."""
    first = text.split(maxsplit=1)[0]
    start = text if "." in first else text[0].upper() + text[1:]
    return start if start.endswith(".") else f"{start}."


def main(
    arguments: Sequence[str] | None = None, folder: Path = DOCS, schema_folder: Path = schema.FOLDER
) -> int:
    """Write the pages and schemas into their folders, or with ``--check`` compare them.

    Returns the exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m hardwire.experiments.guard.pages", description=__doc__
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 if one is out of date")
    check = parser.parse_args(arguments).check
    pages = {folder / name: text for name, text in render().items()}
    pages |= {schema_folder / name: text for name, text in schemas.render().items()}
    stale = [
        page
        for page, text in pages.items()
        if not page.is_file() or page.read_bytes() != text.encode()
    ]
    for page in stale if check else []:
        print(
            f"{page.name} is out of date: run python -m hardwire.experiments.guard.pages",
            file=sys.stderr,
        )
    if check:
        return 1 if stale else 0
    for page in stale:
        page.parent.mkdir(exist_ok=True)
        page.write_bytes(pages[page].encode())
        print(f"{page.name} is written")
    _draw(folder)
    _walk(folder / evening.PAGE)
    if not stale:
        print("pages and schemas are up to date")
    return 0


def _walk(page: Path) -> None:
    if page.is_file():
        with tempfile.TemporaryDirectory() as empty:
            text = evening.rewritten(page.read_text(encoding="utf-8"), Path(empty))
        page.write_text(text, encoding="utf-8")
        print(f"{page.name} is walked and written")


def _draw(folder: Path) -> None:
    from hardwire.experiments.guard.pictures import draw  # noqa: PLC0415 - slow to import

    draw(("validation",), folder)


if __name__ == "__main__":
    sys.exit(main())
