"""Options that several commands share, each said once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypedDict, TypeVar, get_type_hints

import typer

from hardwire.experiments.cli import complete

Text = str | None
Command = TypeVar("Command", bound=Callable[..., None])


class Figures(StrEnum):
    """Formats of figures."""

    PNG = "png"
    SVG = "svg"
    PDF = "pdf"


FiguresOption = Annotated[
    Figures, typer.Option("--figures", help="Format of the figures that --save writes.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object, SI units.")]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="Exit with status 1 if anything stands in the design's way."),
]
CsvOption = Annotated[bool, typer.Option("--csv", help="The tables as comma-separated values.")]
MarkdownOption = Annotated[bool, typer.Option("--markdown", help="The tables in Markdown.")]
LatexOption = Annotated[bool, typer.Option("--latex", help="The tables in LaTeX (booktabs).")]
ChipOption = Annotated[
    str,
    typer.Option(
        "--chip",
        metavar="NAME|FILE",
        help="Catalogue name, or a chip's YAML file.",
        autocompletion=complete.names_of("chip"),
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any parameter of hardwire list parameters; may be repeated.",
        autocompletion=complete.settings,
    ),
]
ModelOption = Annotated[
    Text,
    typer.Option(
        "--model",
        metavar="NAME|FILE",
        help="Catalogue name, or a Hugging Face config.json [default: the chip's own]",
        autocompletion=complete.names_of("model"),
    ),
]
PromptOption = Annotated[int, typer.Option(min=1, metavar="N", help="Prompt tokens per user.")]
OutputOption = Annotated[int, typer.Option(min=2, metavar="N", help="Output tokens per user.")]
UsersOption = Annotated[int, typer.Option(min=1, max=4096, metavar="N", help="Users at a time.")]
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


def chosen(**asked: bool) -> str:
    """The one form that was asked for, or "" for the terminal's.

    Raises
    ------
    InputError
        If there are several.
    """
    from hardwire.models.errors import InputError  # noqa: PLC0415

    names = [name for name, wanted in asked.items() if wanted]
    if len(names) > 1:
        raise InputError(" and ".join(f"--{name}" for name in names) + ": one form at a time")
    return names[0] if names else ""


class ReplayOptions(TypedDict, total=False):
    """What decides a replay beside its source and its server, by the names of ``Setup``.

    What is not given is left to the source, the catalogue or the server.
    """

    chip: Annotated[
        Text,
        typer.Option(
            metavar="NAME|FILE",
            help="On the cards: catalogue name, or a YAML file [default: the server's]",
            autocompletion=complete.names_of("chip"),
        ),
    ]
    settings: SetOption
    adapters: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help="How many, or a catalogue file (YAML) [default: the trace's own, or none]",
        ),
    ]
    popularity: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help="uniform, zipf:ALPHA, local:HIT_RATE, tenants:CV … [default: the catalogue's]",
        ),
    ]
    slo: Annotated[Text, typer.Option(metavar="TEXT", help="Goals, as ttft=0.2,tpot=20ms.")]
    rate: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="Requests/s [default: the source's]")
    ]
    duration: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="Seconds of the workload [default: the source's]"),
    ]
    requests: Annotated[
        int | None, typer.Option(metavar="N", help="Requests [default: the source's]")
    ]
    until: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="Stop the clock at so many seconds, as a measured run does [default: never]",
        ),
    ]
    arrivals: Annotated[
        Text, typer.Option(metavar="TEXT", help="source, poisson or gamma:CV [default: source]")
    ]
    time_unit: Annotated[
        Text,
        typer.Option(
            metavar="TEXT", help="Unit of a trace's times: s, ms, us or ns [default: the format's]"
        ),
    ]
    sort: Annotated[
        bool | None,
        typer.Option(
            "--sort/--no-sort", help="Sort a trace by arrival [default: refused out of order]"
        ),
    ]
    slots: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Fixed adapter slots per card or GPU [default: the server's]"
        ),
    ]
    rank: Annotated[
        int | None, typer.Option(metavar="N", help="Rank of a number of adapters [default: 16]")
    ]
    adapter_rates: Annotated[
        Text,
        typer.Option(metavar="TEXT", help="Requests/s of each adapter, in turn, as 1.6,0.8,0.4."),
    ]
    client_rates: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help="A CSV of clients' rates, each client with an adapter [default: none]",
        ),
    ]
    residency: Annotated[
        Text, typer.Option(metavar="TEXT", help="lru, lfu, cost or belady [default: lru]")
    ]
    swap: Annotated[
        Text,
        typer.Option(
            metavar="TEXT", help="blocking, double_buffered or streamed [default: streamed]"
        ),
    ]
    schedule: Annotated[
        Text, typer.Option(metavar="TEXT", help="fcfs, grouped, shortest or slo [default: fcfs]")
    ]
    routing: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help="round_robin, least_loaded, affine or affine_spill [default: affine_spill]",
        ),
    ]
    prefetch: Annotated[
        int | None,
        typer.Option(metavar="N", help="Requests ahead whose adapters are loaded [default: 1]"),
    ]
    admission: Annotated[
        Text, typer.Option(metavar="TEXT", help="prompt or whole [default: prompt]")
    ]
    preemption: Annotated[
        Text, typer.Option(metavar="TEXT", help="recompute or offload [default: recompute]")
    ]
    prefix_reuse: Annotated[
        bool | None,
        typer.Option(
            "--prefix-reuse/--no-prefix-reuse", help="Keep KV of prompt prefixes [default: no]"
        ),
    ]
    reserve: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="Seconds of waiting after which nobody passes a request by [default: never]",
        ),
    ]
    power_limit: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="Watts of the whole server [default: the server's]"),
    ]
    strict: Annotated[
        bool | None,
        typer.Option(
            "--strict/--no-strict",
            help="Refuse a load with a request that can never be served, and exit with status 1 if "
            "anything stands in the way of a chip [default: reported]",
        ),
    ]
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Same seed, same bytes [default: 0]")
    ]
    engine: Annotated[
        Text, typer.Option(metavar="TEXT", help="compiled or reference [default: compiled]")
    ]


def save_option(words: str) -> Any:
    """``--save DIR``, looked at before anything is computed; ``words`` is its help."""
    return typer.Option(metavar="DIR", help=words, callback=_checked_folder)


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
