"""What a command does not import: most of the time of a short one is its imports."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("numba", "scipy", "pandas", "matplotlib", "simpy", "distributed", "duckdb")
COMPUTES = ("numpy", "yaml", "rich", *HEAVY)
"""Not pydantic, by which Typer reads the options of a command."""
PROGRAM = """
import contextlib, io, sys
from hardwire.experiments.cli.app import main
for line in sys.argv[1:]:
    sys.argv = ["hardwire", *line.split()]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main()
    print(line, *sorted({name.partition(".")[0] for name in sys.modules}))
import scipy.linalg
print(scipy.linalg.det([[2.0]]))
"""
COMPILED = "run --users 2 --issue pipelined"


def test_commands_do_not_wait_for_what_they_do_not_use() -> None:
    """In one process, from the command that needs least to the one that needs most."""
    commands = ("--help", "run --help", "run --engine none", "show hc1", "run", COMPILED)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *commands], capture_output=True, text=True, check=True
    )
    *lines, by_scipy = done.stdout.splitlines()
    loaded = dict(zip(commands, map(set, map(str.split, lines)), strict=True))
    assert {"hardwire", "typer"} <= loaded["--help"] and "pydantic" not in loaded["--help"]
    for command in ("--help", "run --help"):
        assert loaded[command].isdisjoint(COMPUTES), command
    for command in ("run --engine none", "show hc1", "run"):
        assert loaded[command].isdisjoint(HEAVY), command
    assert {"numpy", "yaml"} <= loaded["run"]
    # numba asks for SciPy, and is told that there is none; who needs it still finds it.
    assert "numba" in loaded[COMPILED] and "scipy" not in loaded[COMPILED]
    assert by_scipy == "2.0"
