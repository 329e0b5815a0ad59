"""Wherever it runs: full outputs, closed pipes, unwritable folders, settings of others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shell import Shell

from hardwire import compiled
from hardwire.experiments.shared.machine import examine

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "hardwire"]


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, with more in its environment."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **more},
        check=False,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("arguments", [["list"], ["run", "--output", "8", "--json"], ["--help"]])
def test_a_full_standard_output_is_one_sentence_and_no_traceback(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == "hardwire: standard output: No space left on device\n"


def test_a_closed_pipe_ends_quietly_with_the_status_of_the_shell() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, "list"], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_neither_an_inherited_backend_nor_the_users_matplotlibrc_changes_a_figure(
    tmp_path: Path,
) -> None:
    own = tmp_path / "matplotlibrc"
    own.write_text("font.size: 21\nsavefig.facecolor: black\nsavefig.bbox: tight")
    of_notebooks = "module://matplotlib_inline_elsewhere.backend"
    for name, more in (
        ("plain", {"MPLBACKEND": "nonsense"}),
        ("own", {"MPLBACKEND": of_notebooks, "MATPLOTLIBRC": str(own)}),
    ):
        done = run(
            "run", "--prompt", "64", "--output", "8", "--save", str(tmp_path / name), "--json",
            **more,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    for figure in ("breakdown.png", "rank.png", "floorplan.png", "timeline.png", "pipeline.png"):
        assert (tmp_path / "own" / figure).read_bytes() == (
            tmp_path / "plain" / figure
        ).read_bytes()


def test_without_a_folder_for_compiled_code_numba_gets_one_for_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(compiled.CACHE, raising=False)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(compiled, "can_write", lambda folder: False)
    monkeypatch.setattr(compiled.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    removed = []
    monkeypatch.setattr(compiled.atexit, "register", removed.append)
    from numba.core import config

    try:
        compiled.keep_compiled_code()
        assert os.environ[compiled.CACHE] == config.CACHE_DIR == str(tmp_path)
        removed[-1]()
        assert not tmp_path.exists()
    finally:
        monkeypatch.delenv(compiled.CACHE, raising=False)
        config.reload_config()


def test_doctor_names_the_variable_where_compiled_code_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hardwire.experiments.shared.machine.cache_folder", lambda: None)
    (line,) = [line for line in examine(tmp_path).lines if line.name == "Compiled code"]
    assert "NUMBA_CACHE_DIR" in line.trouble


def test_doctor_says_versions_folders_and_extras(hardwire: Shell, tmp_path: Path) -> None:
    status, out, err = hardwire("doctor", "--store", tmp_path / "store")
    assert (status, err) == (0, "")
    for word in ("numba", "Cache", "made by the first sweep", "Extra bench", "duckdb"):
        assert word in " ".join(out.split())


def test_doctor_says_what_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hardwire.experiments.shared.machine.can_write", lambda folder: False)
    trouble = {line.name: line.trouble for line in examine(tmp_path).lines}
    assert trouble["Store"] == trouble["Working folder"] == "cannot be written"


def test_text_of_files_with_brackets_is_printed_as_it_stands(
    hardwire: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "c[dim].yaml"
    source = "see [/ref] and [my notes] [1]"
    file.write_text(
        'extends: hc1\ntitle: "mine [/b] x"\ncalibration: null\n'
        f'datapath: {{clock_ghz: {{value: 1.5, kind: published, source: "{source}"}}}}\n'
    )
    status, out, err = hardwire("show", file)
    assert (status, err) == (0, "")
    assert source in out and "c[dim]: mine [/b] x" in out
    status, out, err = hardwire("run", "--chip", file, "--adapter", "none")
    assert (status, err) == (0, "") and "c[dim]" in out and "mine [/b] x" in out


def test_the_module_is_the_command() -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("hardwire 0.")


def test_h_is_help_of_every_command(hardwire: Shell) -> None:
    for command in ([], ["run"], ["adapter", "make"]):
        status, out, _ = hardwire(*command, "-h")
        assert status == 0 and "Usage:" in out


def test_where_nothing_can_be_written_the_sentence_names_the_variable(
    hardwire: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was a traceback of 60 lines that ended in "no locator available"."""

    def nowhere(*_: object, **__: object) -> None:
        raise RuntimeError("cannot cache function 'advance': no locator available for file 'x.py'")

    monkeypatch.setattr("hardwire.simulator.single.run", nowhere)
    assert "set NUMBA_CACHE_DIR to a folder to write to" in hardwire.refused("run")
