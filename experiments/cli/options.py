"""Options that several commands share, each said once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypedDict, TypeVar, get_type_hints

import typer

from hardwire.experiments.cli import complete
from hardwire.experiments.replay.meanings import MEANINGS

Text = str | None
Command = TypeVar("Command", bound=Callable[..., None])

DESIGN, SERVER, LOAD, ADAPTERS, POLICIES, GOAL, OUTPUT = (
    "Design", "Server", "Load", "Adapters", "Policies", "Goal", "Output",
)  # fmt: skip
"""Groups of options in ``--help``; those of no group are called options and come last."""


class Figures(StrEnum):
    """Formats of figures."""

    PNG = "png"
    SVG = "svg"
    PDF = "pdf"


FiguresOption = Annotated[
    Figures,
    typer.Option(
        "--figures",
        metavar="png|svg|pdf",
        help="Format of the figures that --save writes.",
        rich_help_panel=OUTPUT,
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="Exit with status 1 if anything stands in the design's way."),
]


class JsonForm(TypedDict, total=False):
    """The form for programs; like the others one that a command ``takes`` and asks ``chosen``."""

    json: Annotated[
        bool | None,
        typer.Option("--json", help="JSON in SI units instead of tables.", rich_help_panel=OUTPUT),
    ]


class TableForms(TypedDict, total=False):
    """The forms of tables beside the terminal's."""

    csv: Annotated[
        bool | None,
        typer.Option("--csv", help="Tables as comma-separated values.", rich_help_panel=OUTPUT),
    ]
    markdown: Annotated[
        bool | None, typer.Option("--markdown", help="Tables in Markdown.", rich_help_panel=OUTPUT)
    ]
    latex: Annotated[
        bool | None,
        typer.Option("--latex", help="Tables in LaTeX (booktabs).", rich_help_panel=OUTPUT),
    ]


class Forms(JsonForm, TableForms, total=False):
    """Every form of an answer beside the terminal's."""


ChipOption = Annotated[
    str,
    typer.Option(
        "--chip",
        metavar="NAME|FILE",
        help="Catalogue name, or a chip's YAML file.",
        autocompletion=complete.names_of("chip"),
        rich_help_panel=DESIGN,
    ),
]
_SETTINGS = "A parameter by its name in hardwire show CHIP; may be repeated."
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help=_SETTINGS,
        autocompletion=complete.settings,
        rich_help_panel=DESIGN,
    ),
]
ModelOption = Annotated[
    Text,
    typer.Option(
        "--model",
        metavar="NAME|FILE",
        help="Catalogue name, or a Hugging Face config.json [default: the chip's own]",
        autocompletion=complete.names_of("model"),
        rich_help_panel=DESIGN,
    ),
]
PromptOption = Annotated[
    int,
    typer.Option(min=1, metavar="N", help="Prompt tokens per user.", rich_help_panel=LOAD),
]
OutputOption = Annotated[
    int,
    typer.Option(min=2, metavar="N", help="Output tokens per user.", rich_help_panel=LOAD),
]
UsersOption = Annotated[
    int,
    typer.Option(min=1, max=4096, metavar="N", help="Users at a time.", rich_help_panel=LOAD),
]
SeedOption = Annotated[int, typer.Option(min=0, metavar="N", help="Same seed, same bytes.")]
StudyArgument = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="A ready study, or a file that ends in .yaml.",
        autocompletion=complete.study_names,
    ),
]
SourceArgument = Annotated[
    Text,
    typer.Argument(
        metavar="SOURCE",
        help="A preset (azure-conv, azure-code, sharegpt) or a trace file.",
        autocompletion=complete.preset_names,
    ),
]


FORMS = tuple(get_type_hints(Forms))
"""Their names."""


def chosen(asked: Mapping[str, object]) -> str:
    """The one of ``Forms`` that was asked for among a command's options, or "" for the terminal's.

    Raises
    ------
    InputError
        If there are several.
    """
    from hardwire.models.errors import InputError  # noqa: PLC0415

    names = [name for name in FORMS if asked.get(name)]
    if len(names) > 1:
        raise InputError(" and ".join(f"--{name}" for name in names) + ": one form at a time")
    return names[0] if names else ""


def _said(name: str, default: str = "") -> str:
    """The help of an option of replays, with what happens where it is not given."""
    meaning = MEANINGS[name]
    text = meaning[0].upper() + meaning[1:]
    return f"{text} [default: {default}]" if default else f"{text}."


class ReplayOptions(TypedDict, total=False):
    """What decides a replay beside its source and its server, by the names of ``Setup``.

    What is not given is left to the source, the catalogue or the server.
    """

    server_routing: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help=_said("server_routing", "round_robin"),
            autocompletion=complete.words_of("server_routing"),
            rich_help_panel=SERVER,
        ),
    ]
    chip: Annotated[
        Text,
        typer.Option(
            metavar="NAME|FILE",
            help=_said("chip", "the server's"),
            autocompletion=complete.names_of("chip"),
            rich_help_panel=SERVER,
        ),
    ]
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help=_SETTINGS,
            autocompletion=complete.settings,
            rich_help_panel=SERVER,
        ),
    ]
    adapters: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help=_said("adapters", "the trace's own, or none"),
            rich_help_panel=ADAPTERS,
        ),
    ]
    popularity: Annotated[
        Text,
        typer.Option(
            metavar="TEXT", help=_said("popularity", "the catalogue's"), rich_help_panel=ADAPTERS
        ),
    ]
    slo: Annotated[Text, typer.Option(metavar="TEXT", help=_said("slo"))]
    rate: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help=_said("rate", "the source's"), rich_help_panel=LOAD),
    ]
    duration: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER", help=_said("duration", "the source's"), rich_help_panel=LOAD
        ),
    ]
    requests: Annotated[
        int | None,
        typer.Option(metavar="N", help=_said("requests", "the source's"), rich_help_panel=LOAD),
    ]
    concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help=_said("concurrency", "requests come on their own"),
            rich_help_panel=LOAD,
        ),
    ]
    until: Annotated[float | None, typer.Option(metavar="NUMBER", help=_said("until", "never"))]
    arrivals: Annotated[
        Text, typer.Option(metavar="TEXT", help=_said("arrivals", "source"), rich_help_panel=LOAD)
    ]
    time_unit: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help=_said("time_unit", "the format's"),
            autocompletion=complete.words_of("time_unit"),
            rich_help_panel=LOAD,
        ),
    ]
    sort: Annotated[
        bool | None,
        typer.Option(
            "--sort/--no-sort", help=_said("sort", "refused out of order"), rich_help_panel=LOAD
        ),
    ]
    slots: Annotated[
        int | None,
        typer.Option(metavar="N", help=_said("slots", "the server's"), rich_help_panel=SERVER),
    ]
    rank: Annotated[
        int | None, typer.Option(metavar="N", help=_said("rank", "16"), rich_help_panel=ADAPTERS)
    ]
    adapter_rates: Annotated[
        Text, typer.Option(metavar="TEXT", help=_said("adapter_rates"), rich_help_panel=ADAPTERS)
    ]
    client_rates: Annotated[
        Text,
        typer.Option(metavar="TEXT", help=_said("client_rates", "none"), rich_help_panel=ADAPTERS),
    ]
    residency: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help=_said("residency", "lru"),
            autocompletion=complete.words_of("residency"),
            rich_help_panel=POLICIES,
        ),
    ]
    swap: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help=_said("swap", "streamed"),
            autocompletion=complete.words_of("swap"),
            rich_help_panel=POLICIES,
        ),
    ]
    schedule: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help=_said("schedule", "fcfs"),
            autocompletion=complete.words_of("schedule"),
            rich_help_panel=POLICIES,
        ),
    ]
    routing: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help=_said("routing", "affine_spill"),
            autocompletion=complete.words_of("routing"),
            rich_help_panel=POLICIES,
        ),
    ]
    prefetch: Annotated[
        int | None, typer.Option(metavar="N", help=_said("prefetch", "1"), rich_help_panel=POLICIES)
    ]
    admission: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help=_said("admission", "prompt"),
            autocompletion=complete.words_of("admission"),
            rich_help_panel=POLICIES,
        ),
    ]
    prefill: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help=_said("prefill", "in_order"),
            autocompletion=complete.words_of("prefill"),
            rich_help_panel=POLICIES,
        ),
    ]
    preemption: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help=_said("preemption", "recompute"),
            autocompletion=complete.words_of("preemption"),
            rich_help_panel=POLICIES,
        ),
    ]
    prefix_reuse: Annotated[
        bool | None,
        typer.Option(
            "--prefix-reuse/--no-prefix-reuse",
            help=_said("prefix_reuse", "no"),
            rich_help_panel=POLICIES,
        ),
    ]
    reserve: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help=_said("reserve", "never"), rich_help_panel=POLICIES),
    ]
    power_limit: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER", help=_said("power_limit", "the server's"), rich_help_panel=SERVER
        ),
    ]
    intervals: Annotated[
        bool | None,
        typer.Option(
            "--intervals/--no-intervals",
            help=_said("intervals", "compare only"),
            rich_help_panel=OUTPUT,
        ),
    ]
    draws: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help=_said("draws", "64 of a GPU server, 19 of cards"),
            rich_help_panel=OUTPUT,
        ),
    ]
    strict: Annotated[
        bool | None, typer.Option("--strict/--no-strict", help=_said("strict", "reported"))
    ]
    seed: Annotated[int | None, typer.Option(metavar="N", help=_said("seed", "0"))]
    engine: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help=_said("engine", "compiled from 100,000 requests"),
            autocompletion=complete.words_of("engine"),
        ),
    ]


class Replays(ReplayOptions, Forms, total=False):
    """What ``replay`` and ``compare`` take beside their source and their servers."""


def save_option(words: str) -> Any:
    """``--save DIR``, looked at before anything is computed; ``words`` is its help."""
    return typer.Option(metavar="DIR", help=words, callback=_checked_folder, rich_help_panel=OUTPUT)


def _checked_folder(folder: Path | None) -> Path | None:
    if folder is not None:
        from hardwire.experiments.shared.run_folder import check_run_folder  # noqa: PLC0415

        check_run_folder(folder)
    return folder


def settings_of(texts: list[str]) -> dict[str, str]:
    """``["sram.capacity_mib=512"]`` as a mapping; the chip checks names, units and ranges.

    Raises
    ------
    InputError
        On a text without a name or a value.
    """
    from hardwire.models.errors import InputError  # noqa: PLC0415

    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name or not value:
            raise InputError(f"--set {text}: must be written NAME=VALUE")
        values[name] = value
    return values


def takes(table: type[Any]) -> Callable[[Command], Command]:
    """Give a command the options of a table for its ``**options``; None is one not given.

    Typer reads them from the signature, where they stand before the options of the command's own,
    which are those after a star.
    """

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters.values()
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in get_type_hints(table, include_extras=True).items()
        ]
        first = [one for one in own if one.kind is one.POSITIONAL_OR_KEYWORD]
        last = [one for one in own if one.kind is one.KEYWORD_ONLY]
        setting: Any = command
        setting.__signature__ = inspect.Signature([*first, *shared, *last])
        return command

    return decorate
