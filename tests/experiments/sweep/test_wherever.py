"""Where a sweep runs: without file locks, without a scheduler, in whatever folder one stands."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hangs import HUNG_S
from shell import Shell

import hardwire as hw

pytestmark = pytest.mark.slow

WITHOUT_LOCKS = "sys.modules['fcntl'] = None\n"
"""What goes before ``IN_TURN`` on a system that has none."""
IN_TURN = """
from hardwire.experiments.cli.app import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["hardwire", *command]
    status = 0
    try:
        main()
    except SystemExit as stop:
        status = stop.code or 0
    print("\\nstatus", status, flush=True)
"""
STUDY = "title: t\naxes: {die.area_mm2: [700, 800]}\nmetrics: [token_s]\nobjectives: [token_s]\n"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study in an empty working folder."""
    path = tmp_path / "st.yaml"
    path.write_text(STUDY)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("HARDWIRE_STORE", raising=False)
    return path


def in_turn(first: str, *commands: list[str]) -> tuple[list[int], str]:
    """Commands in one process of their own, after a line: their statuses, and the complaints."""
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys\n{first}{IN_TURN}", json.dumps(commands)],
        capture_output=True, text=True, check=True, timeout=HUNG_S,
    )  # fmt: skip
    ends = [line.split() for line in done.stdout.splitlines() if line.startswith("status ")]
    return [int(status) for _, status in ends], done.stderr


def test_without_file_locks_a_sweep_alone_is_refused(study: Path, hardwire: Shell) -> None:
    assert hardwire("sweep", study, "--store", "s")[0] == 0
    statuses, errors = in_turn(
        WITHOUT_LOCKS,
        ["results", "--store", "s"],
        ["search", str(study), "--trials", "8", "--json"],
        ["sensitivity", "hc1", "--samples", "64", "--json"],
        ["sweep", str(study), "--store", "other"],
    )
    assert statuses == [0, 0, 0, 2], errors
    assert errors == (
        "hardwire: a sweep needs file locks, which this system does not have (no fcntl)\n"
    )
    assert not Path("other").exists()


def test_a_scheduler_that_is_not_there_is_one_line(study: Path) -> None:
    """In a process of its own: what complained was the end of the program."""
    addresses = ("nosuchhost", "tcp://127.0.0.1:1", serve())
    begin = ["sweep", str(study), "--store", "s", "--scheduler"]
    statuses, errors = in_turn("", *([*begin, address] for address in addresses))
    assert statuses == [2, 2, 2], errors
    for address, line in zip(addresses, errors.splitlines(), strict=True):
        assert line.startswith(f"hardwire: --scheduler {address}: no Dask scheduler answers there")


def serve() -> str:
    """The address of a server that is none of Dask's."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"tcp://127.0.0.1:{server.server_port}"


def test_a_new_store_and_a_new_journal_are_said_once(study: Path, hardwire: Shell) -> None:
    words = "is new and keeps the points; --store or HARDWIRE_STORE names another folder"
    assert f"hardwire-store {words}" in " ".join(hardwire("sweep", study)[1].split())
    assert "is new" not in hardwire("sweep", study)[1]
    words = "(new; --storage names another file)"
    told = hardwire("search", study, "--trials", 8)[1]
    assert f"hardwire-search.journal {words}" in " ".join(told.split())
    assert "(new" not in hardwire("search", study, "--trials", 8)[1]


def test_the_environment_names_the_store(
    study: Path, hardwire: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the command line and in Python; an option wins, and an empty variable is none."""
    monkeypatch.setenv("HARDWIRE_STORE", str(tmp_path / "points"))
    assert json.loads(hardwire("sweep", study, "--json")[1])["store"] == str(tmp_path / "points")
    assert hw.sweep(study).store == tmp_path / "points"
    assert hardwire("results")[0] == 0
    assert json.loads(hardwire("sweep", study, "--store", "s", "--json")[1])["store"] == "s"
    monkeypatch.setenv("HARDWIRE_STORE", "")
    assert json.loads(hardwire("sweep", study, "--json")[1])["store"] == "hardwire-store"
    assert str(hw.sweep(study).store) == "hardwire-store"
