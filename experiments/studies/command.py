"""What studies that are run by ``python -m`` share: options, and files of tables and figures."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hardwire.experiments.shared.folder import write_all
from hardwire.experiments.studies.serving_bench import Row
from hardwire.models.errors import InputError

Say = Callable[[str], None]
Tables = dict[str, list[Row]]


def run_study(
    name: str,
    arguments: Sequence[str] | None,
    study: Callable[[bool, Say], Tables],
    figures: Callable[[Tables], Mapping[str, Any]],
) -> int:
    """Run a study and write what it found into a folder, all or nothing.

    Parameters
    ----------
    name : of its page and its folder, and what its figures' names begin with.
    arguments : of the command line, by default the process's own.
    study : gives the tables, of a few small runs if it is told so; says what it has done.
    figures : of the tables, by name; called last, because Matplotlib takes long to import.

    Returns
    -------
    int
        The exit status.
    """
    parser = argparse.ArgumentParser(description=f"Runs and figures of docs/{name}-study.md.")
    parser.add_argument("--out", type=Path, default=Path(f"out/{name}-study"), metavar="DIR")
    parser.add_argument("--quick", action="store_true", help="a few small runs, to try it")
    options = parser.parse_args(arguments)
    begin = time.perf_counter()

    def say(text: str) -> None:
        print(f"{time.perf_counter() - begin:6.1f} s  {text}", file=sys.stderr, flush=True)

    tables = study(options.quick, say)
    from hardwire.experiments.shared.style import save_figure  # noqa: PLC0415 - as ``figures``

    def table(rows: list[Row]) -> Callable[[Path], Any]:
        return lambda path: _write_csv(rows, path)

    def figure(drawn: Any) -> Callable[[Path], Any]:
        return lambda path: save_figure(drawn, path)

    writers = {f"{one}.csv": table(rows) for one, rows in tables.items()}
    writers |= {f"{name}-{one}.png": figure(drawn) for one, drawn in figures(tables).items()}
    try:
        for path in write_all(options.out, writers):
            print(path)
    except InputError as error:
        print(str(error).replace("--save", "--out"), file=sys.stderr)
        return 2
    return 0


def _write_csv(rows: list[Row], path: Path) -> None:
    """Write rows with the columns of all of them, numbers to six digits."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
