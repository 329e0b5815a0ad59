"""Columns written without pandas are what pandas would have written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from hardwire.experiments.shared.parquet import write_columns


def test_a_file_reads_as_the_frame_does(tmp_path: Path) -> None:
    columns = {
        "token": np.arange(10)[::2],  # not contiguous
        "phase": np.array([0, 1, 1, 0, 1], dtype=np.int8),
        "done_s": np.linspace(0, 1, 5),
    }
    write_columns(tmp_path / "own.parquet", columns, phase=("prefill", "dé"))
    words = ["prefill", "dé", "dé", "prefill", "dé"]
    pd.DataFrame({**columns, "phase": words}).to_parquet(tmp_path / "pandas.parquet", index=False)
    frames = [pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("own", "pandas")]
    pd.testing.assert_frame_equal(*frames)


def test_pandas_is_not_imported(tmp_path: Path) -> None:
    """It takes a quarter of a second, which is why the module is there."""
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from hardwire.experiments.shared.parquet import write_columns\n"
        f"write_columns(Path({str(tmp_path / 'x.parquet')!r}),"
        " {'a': np.arange(2), 'b': np.arange(2)}, b=('x', 'y'))\n"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
