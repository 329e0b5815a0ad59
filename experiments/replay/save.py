"""A replay on disk: requests, adapter loads, memory, numbers, how to run it again, and a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardwire.experiments.replay.config import config_text
from hardwire.experiments.replay.replay import Replay
from hardwire.experiments.replay.setup import Setup
from hardwire.experiments.shared.configuration import (
    CONFIGURATION,
    chip_configuration,
    configuration,
    server_configuration,
)
from hardwire.experiments.shared.folder import json_file, text_file
from hardwire.experiments.shared.run_folder import write_run
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.server import Server
from hardwire.simulator.serving.log import Handover, Status
from hardwire.simulator.serving.metrics import HANDED_S, request_columns
from hardwire.simulator.serving.replay import open_server

if TYPE_CHECKING:
    import pandas as pd

FILES = (
    "requests.parquet",
    "adapters.parquet",
    "memory.parquet",
    "summary.json",
    "config.yaml",
    CONFIGURATION,
    "trace.json.gz",
)


def save(done: Replay, folder: Path) -> list[Path]:
    """Write the files of a replay to ``folder``, all or none; same options, same bytes.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    from hardwire.experiments.replay.trace import write_trace  # noqa: PLC0415 - most runs save nothing

    if len(done.workload) < done.summary["requests"]:
        raise InputError(f"--save {folder}: a streamed replay is saved while it runs")
    server = str(done.summary["server"])
    options = done.setup.model_dump(mode="json", exclude_none=True)
    resolved = replay_configuration("replay", options, done.setup, [done.setup.server], [done])
    writers: dict[str, Callable[[Path], Any]] = {
        "requests.parquet": _parquet(requests_frame(done)),
        "adapters.parquet": _parquet(adapters_frame(done)),
        "memory.parquet": _parquet(memory_frame(done)),
        "summary.json": json_file(done.summary),
        "config.yaml": text_file(config_text(done.setup, folder)),
        CONFIGURATION: json_file(resolved),
        "trace.json.gz": lambda path: write_trace(done.workload, done.log, path, server),
    }
    return write_run(folder, writers)


def replay_configuration(
    command: str,
    options: Mapping[str, Any],
    setup: Setup,
    servers: Sequence[str],
    replays: Sequence[Replay],
) -> dict[str, Any]:
    """The resolved configuration of ``hardwire replay`` or ``hardwire compare``.

    Parameters
    ----------
    options : of the replay, by name.
    setup : of the first server.
    servers : catalogue names or files.
    replays : what ran on them.

    Raises
    ------
    InputError
        If a server's file, or its chip's, cannot be read, or a chip was made in Python, so that no
        file says what it is.
    """
    opened = [open_server(name) for name in servers]
    hardwired = {one.name: one for one in opened if isinstance(one, Server)}
    chips = {setup.chip or one.chip: setup.card_chip(one) for one in hardwired.values()}
    for done in replays:
        server = hardwired.get(one_server(done.summary))
        if server is not None and done.chip != chips[setup.chip or server.chip]:
            raise InputError(
                f"chip: {done.chip and done.chip.name} was changed in Python: to save its replay, "
                "name it or its file, and give what is set as settings"
            )
    models = {
        model.name: model
        for model in (
            *(server.model for server in opened if not isinstance(server, Server)),
            *(LanguageModel.open(chip.model) for chip in chips.values()),
        )
    }
    return configuration(
        command,
        {key: value for key, value in options.items() if value is not None},
        next(iter(models.values())),
        servers=[server_configuration(server) for server in opened],
        chips=[chip_configuration(chip) for chip in chips.values()],
    )


def one_server(summary: Mapping[str, Any]) -> str:
    """The name of the server that a replay is of, or of the like ones."""
    return str(summary.get("fleet", summary)["server"])


def requests_frame(done: Replay) -> pd.DataFrame:
    """One row per request, in order of arrival: what it asked, how it ended, and when.

    Columns are in ``docs/serving.md``; times in seconds from the workload's begin, missing where
    there is none.
    """
    import pandas as pd  # noqa: PLC0415 - half a second that only saving needs

    workload, log = done.workload, done.log
    hit = pd.array(np.maximum(log.adapter_hit, 0).astype(bool), dtype="boolean")
    hit[log.adapter_hit < 0] = pd.NA
    return pd.DataFrame(
        {
            **request_columns(workload, log),
            "adapter": _words(workload.adapter, workload.adapters),
            "status": _words(log.status, [status.name.lower() for status in Status]),
            "unit": _words(log.unit, log.units),
            "adapter_hit": hit,
            **({} if log.handover is None else _handover(log.handover)),
        }
    )


def _handover(handed: Handover) -> dict[str, NDArray[np.float64]]:
    """What a disaggregated server's requests waited for, by cause."""
    return {f"handover_{name}": getattr(handed, name) for name in (*HANDED_S, "kv_bytes")}


def adapters_frame(done: Replay) -> pd.DataFrame:
    """Loads and evictions of adapters in order of begin, those of one kind together."""
    import pandas as pd  # noqa: PLC0415

    log, names = done.log, done.workload.adapters
    kinds = [spans.kind for spans in log.spans]
    many = [len(spans.begin_s) for spans in log.spans]

    def column(field: str, dtype: Any) -> NDArray[Any]:
        parts = [getattr(spans, field) for spans in log.spans]
        return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)

    return pd.DataFrame(
        {
            "kind": _words(np.repeat(np.arange(len(kinds)), many), kinds),
            "unit": _words(column("unit", np.int32), log.units),
            "adapter": _words(column("adapter", np.int32), names),
            "begin_s": column("begin_s", np.float64),
            "end_s": column("end_s", np.float64),
            "bytes": column("bytes", np.int64),
        }
    )


def memory_frame(done: Replay) -> pd.DataFrame:
    """Memory in use at its changes."""
    import pandas as pd  # noqa: PLC0415

    used = done.log.occupancy
    return pd.DataFrame(
        {
            "unit": _words(used.unit, done.log.units),
            "time_s": used.time_s,
            "kv_bytes": used.kv_bytes,
            "adapter_bytes": used.adapter_bytes,
        }
    )


def _words(codes: NDArray[Any], names: Sequence[str]) -> Any:
    """Names by number, −1 being none: a number per row in memory and on disk."""
    import pandas as pd  # noqa: PLC0415

    text: Any = pd.Series(list(names), dtype=object)  # also where there are no names
    return pd.Categorical.from_codes(np.asarray(codes), categories=text)


def _parquet(frame: pd.DataFrame) -> Callable[[Path], Any]:
    return lambda path: frame.to_parquet(path, index=False)
