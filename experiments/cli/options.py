"""Options that several commands share, each said once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict, TypeVar, get_type_hints

import typer

Text = str | None
Command = TypeVar("Command", bound=Callable[..., None])

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object, SI units.")]
ChipOption = Annotated[str, typer.Option("--chip", help="Catalogue name, or a chip's YAML file.")]
ModelOption = Annotated[
    Text,
    typer.Option("--model", help="Catalogue name, or a Hugging Face config.json [the chip's own]."),
]
PromptOption = Annotated[int, typer.Option(min=1, help="Prompt tokens per user.")]
OutputOption = Annotated[int, typer.Option(min=2, help="Output tokens per user.")]
UsersOption = Annotated[int, typer.Option(min=1, max=4096, help="Users at a time.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")]
StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="A ready study, or a file that ends in .yaml.")
]
SourceArgument = Annotated[
    Text,
    typer.Argument(
        metavar="SOURCE", help="A preset (azure-conv, azure-code, sharegpt) or a trace file."
    ),
]


class ReplayOptions(TypedDict, total=False):
    """What decides a replay beside its source and its server, by the names of ``Setup``.

    What is not given is left to the source, the catalogue or the server.
    """

    adapters: Annotated[
        Text,
        typer.Option(help="How many, or a catalogue file (YAML) [the trace's own, or none]."),
    ]
    popularity: Annotated[
        Text,
        typer.Option(help="uniform, zipf:ALPHA, local:HIT_RATE, tenants:CV … [the catalogue's]."),
    ]
    slo: Annotated[Text, typer.Option(help="Goals in seconds, as ttft=0.2,tpot=0.02.")]
    rate: Annotated[float | None, typer.Option(help="Requests/s [the source's].")]
    duration: Annotated[float | None, typer.Option(help="Seconds of the workload [the source's].")]
    requests: Annotated[int | None, typer.Option(help="Requests [the source's].")]
    until: Annotated[
        float | None,
        typer.Option(help="Stop the clock at so many seconds, as a measured run does [never]."),
    ]
    arrivals: Annotated[Text, typer.Option(help="source, poisson or gamma:CV [source].")]
    time_unit: Annotated[
        Text, typer.Option(help="Unit of a trace's times: s, ms, us or ns [the format's].")
    ]
    sort: Annotated[
        bool | None,
        typer.Option("--sort/--no-sort", help="Sort a trace by arrival [refused out of order]."),
    ]
    slots: Annotated[
        int | None, typer.Option(help="Fixed adapter slots per card or GPU [the server's].")
    ]
    rank: Annotated[int | None, typer.Option(help="Rank of a number of adapters [16].")]
    adapter_rates: Annotated[
        Text, typer.Option(help="Requests/s of each adapter, in turn, as 1.6,0.8,0.4.")
    ]
    client_rates: Annotated[
        Text,
        typer.Option(help="A CSV of clients' rates, each client with an adapter [none]."),
    ]
    residency: Annotated[Text, typer.Option(help="lru, lfu, cost or belady [lru].")]
    swap: Annotated[Text, typer.Option(help="blocking, double_buffered or streamed [streamed].")]
    schedule: Annotated[Text, typer.Option(help="fcfs, grouped, shortest or slo [fcfs].")]
    routing: Annotated[
        Text,
        typer.Option(help="round_robin, least_loaded, affine or affine_spill [affine_spill]."),
    ]
    prefetch: Annotated[
        int | None, typer.Option(help="Requests ahead whose adapters are loaded [1].")
    ]
    admission: Annotated[Text, typer.Option(help="prompt or whole [prompt].")]
    preemption: Annotated[Text, typer.Option(help="recompute or offload [recompute].")]
    prefix_reuse: Annotated[
        bool | None,
        typer.Option("--prefix-reuse/--no-prefix-reuse", help="Keep KV of prompt prefixes [no]."),
    ]
    reserve: Annotated[
        float | None,
        typer.Option(help="Seconds of waiting after which nobody passes a request by [never]."),
    ]
    power_limit: Annotated[
        float | None, typer.Option(help="Watts of the whole server [the server's].")
    ]
    strict: Annotated[
        bool | None,
        typer.Option(
            "--strict/--no-strict",
            help="Refuse a load with a request that can never be served [counted and reported].",
        ),
    ]
    seed: Annotated[int | None, typer.Option(help="Same seed, same bytes [0].")]
    engine: Annotated[Text, typer.Option(help="compiled or reference [compiled].")]


def save_option(words: str) -> Any:
    """``--save DIR``, looked at before anything is computed; ``words`` is its help."""
    return typer.Option(metavar="DIR", help=words, callback=_checked_folder)


def _checked_folder(folder: Path | None) -> Path | None:
    if folder is not None:
        from hardwire.experiments.shared.run_folder import check_run_folder  # noqa: PLC0415

        check_run_folder(folder)
    return folder


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
