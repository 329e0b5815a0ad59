"""Questions to a store in SQL, answered by DuckDB, as pandas frames."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardwire.experiments.shared.extras import needs
from hardwire.experiments.sweep.store import POINTS, check_version, stored_studies
from hardwire.models.errors import InputError
from hardwire.models.files import read_json_object

if TYPE_CHECKING:
    import pandas as pd


def results(store: Path | str, sql: str | None = None) -> pd.DataFrame:
    """Ask a store.

    Parameters
    ----------
    store : folder that ``hardwire sweep`` has written.
    sql : one SELECT over ``points`` and a view per study; by default the views, with their counts.

    Returns
    -------
    pandas.DataFrame
        A study's view has the number, key and axis values of its points, whether each is
        ``feasible`` and otherwise the ``reason``, and all metrics.

    Raises
    ------
    InputError
        If the folder is no store of this version of the program, or the query cannot be answered.
    """
    duckdb = needs("duckdb", "results")
    folder = Path(store)
    check_version(folder)
    connection = duckdb.connect()
    try:
        views = _make_views(connection, folder)
        if sql is None:
            sql = " UNION ALL ".join(_count(*view) for view in views) or "SELECT 'empty' AS view"
        _refuse_all_but_select(duckdb, sql)
        found: pd.DataFrame = connection.execute(sql).df()
        return found
    except duckdb.Error as error:
        raise InputError(f"results: {_first_line(error)}") from None
    finally:
        connection.close()


def study_view(folder: Path) -> str:
    """Name of the view of a study, by its folder."""
    return str(read_json_object(folder / "study.json")["view"])


def _make_views(connection: Any, folder: Path) -> list[tuple[str, str]]:
    """``points``, and a view for each study that has chunks. Pairs of view and title."""
    if not any((folder / "points").glob("*.parquet")):
        raise InputError(f"--store {folder}: holds no points yet")
    source = _parquet(folder / "points", "*.parquet")
    connection.execute(
        f"CREATE VIEW {POINTS} AS SELECT lower(hex(key)) AS key, * EXCLUDE (key) FROM {source}"
    )
    made = [(POINTS, "every point of every study, once")]
    stored = {row[0] for row in connection.execute(f"DESCRIBE {POINTS}").fetchall()}
    for study, described in stored_studies(folder).items():
        if not any(study.glob("chunk-*.parquet")):
            continue
        chunks, view = _parquet(study, "chunk-*.parquet"), described["view"]
        twice = ["key", *({axis["name"] for axis in described["axes"]} & stored)]
        dropped = ", ".join(map(identifier, twice))
        connection.execute(
            f'CREATE VIEW "{view}" AS SELECT c.* EXCLUDE (key), lower(hex(c.key)) AS key, '
            f"p.* EXCLUDE ({dropped}) FROM {chunks} c LEFT JOIN {source} p USING (key)"
        )
        made.append((view, described["title"]))
    return made


def identifier(name: str) -> str:
    """A name of a view or a column in SQL, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def _count(view: str, title: str) -> str:
    feasible = "NULL" if view == POINTS else "count(*) FILTER (WHERE feasible)"
    words = title.replace("'", "''")
    return (
        f"SELECT '{view}' AS view, '{words}' AS title, count(*) AS points, "
        f'{feasible} AS feasible FROM "{view}"'
    )


def _refuse_all_but_select(duckdb: Any, sql: str) -> None:
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise InputError("results: one SELECT is expected: a store is written by sweeps only")


def _parquet(folder: Path, pattern: str) -> str:
    """Tables of a folder for DuckDB: of its path each character stands for itself.

    DuckDB takes brackets, stars and question marks for patterns, a tilde in front for the home
    folder, and ``a=1`` for a column.
    """
    literal = re.sub(r"[\[*?]", r"[\g<0>]", str(folder.absolute()))
    quoted = f"{literal}/{pattern}".replace("'", "''")
    return f"read_parquet('{quoted}', union_by_name = true, hive_partitioning = false)"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    hints = [line for line in lines[1:] if line.lower().startswith(("did you mean", "candidate"))]
    if re.search(r'Referenced table "\w+" not found', text):
        hints = ['Names with a dot stand in double quotes, as "sram.capacity_mib".']
        text = text.partition("!")[0] + "."
    return " ".join([text, *hints[:1]])
