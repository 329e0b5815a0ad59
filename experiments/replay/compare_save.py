"""A comparison on disk: all files or none."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from hardwire.experiments.replay.compare import DID_NOT_RUN, Comparison, counted_name
from hardwire.experiments.replay.save import replay_configuration
from hardwire.experiments.shared.configuration import CONFIGURATION
from hardwire.experiments.shared.folder import json_file, text_file
from hardwire.experiments.shared.run_folder import write_run
from hardwire.experiments.shared.style import FORMATS, save_figure


def save(comparison: Comparison, folder: Path, figures: str = FORMATS[0]) -> list[Path]:
    """Write figure, numbers and a table to ``folder``, all or none.

    Parameters
    ----------
    figures : their format, one of ``FORMATS``.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    from hardwire.experiments.replay.compare_plot import (  # noqa: PLC0415 - matplotlib is slow
        compare_figure,
    )

    setup = comparison.setup.model_dump(mode="json", exclude={"server"}, exclude_none=True)
    options = {**setup, "servers": list(comparison.named)}
    configuration = replay_configuration(
        "compare",
        options,
        comparison.setup,
        [counted_name(one)[0] for one in comparison.named],
        comparison.done,
    )
    data = {
        "servers": [one.summary for one in comparison.done],
        "did_not_run": comparison.obstacles,
        "needed": comparison.needed_dict(),
    }
    return write_run(
        folder,
        {
            f"compare.{figures}": lambda path: save_figure(compare_figure(comparison), path),
            "compare.json": json_file(data),
            "compare.csv": text_file(_csv(comparison)),
            CONFIGURATION: json_file(configuration),
        },
    )


def _csv(comparison: Comparison) -> str:
    """A line per server: the plain numbers of the summary, nested ones by dotted names."""
    lines = []
    needed = comparison.needed_dict()
    for one in comparison.done:
        flat = _flat({k: v for k, v in one.summary.items() if k not in {"definitions", "fleet"}})
        fleet = _flat(needed.get(one.summary["server"]) or {}, "needed.")
        lines.append({**flat, **fleet, DID_NOT_RUN: ""})
    lines += [{"server": name, DID_NOT_RUN: why} for name, why in comparison.obstacles.items()]
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found
