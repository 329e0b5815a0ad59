"""Files into a folder: all or none; and JSON that every reader takes."""

from __future__ import annotations

import json
import math
import os
import threading
from pathlib import Path

import pytest
from hangs import HUNG_S

from hardwire.experiments.shared.folder import (
    json_file,
    text_file,
    to_json,
    write_all,
    write_text,
)
from hardwire.models.errors import InputError


def test_infinities_become_null_at_any_depth() -> None:
    data = {"a": math.inf, "b": [-math.inf, {"c": math.nan}], "d": (1.5, "µ", None, True, 3)}
    text = to_json(data)
    assert json.loads(text) == {"a": None, "b": [None, {"c": None}], "d": [1.5, "µ", None, True, 3]}
    assert "µ" in text


def test_all_files_appear_together(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    written = write_all(folder, {"a.json": json_file({"x": 1}), "b.txt": text_file("µ\n")})
    assert written == [folder / "a.json", folder / "b.txt"]
    assert sorted(folder.iterdir()) == written
    assert (folder / "a.json").read_text() == '{\n  "x": 1\n}\n'
    assert (folder / "b.txt").read_bytes() == "µ\n".encode()


def test_none_appear_where_one_fails(tmp_path: Path) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    kept = write_all(tmp_path / "out", {"a.txt": text_file("before")})[0]
    for folder in (tmp_path / "out", tmp_path / "fresh"):
        with pytest.raises(InputError, match=rf"--save {folder}: No space left on device"):
            write_all(folder, {"a.txt": text_file("after"), "b.txt": full})
    assert kept.read_text() == "before" and list((tmp_path / "out").iterdir()) == [kept]
    assert not (tmp_path / "fresh").exists()


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    write_text(target, "µ")
    assert target.read_bytes() == "µ".encode()
    with pytest.raises(UnicodeEncodeError):
        write_text(target, "\ud800")  # no text: half of a pair
    assert target.read_text() == "µ" and list(tmp_path.iterdir()) == [target]
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / "no such folder" / "page.html", "µ")


def test_a_device_or_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_text(pipe, "page")
    reader.join(HUNG_S)
    assert read == ["page"] and pipe.is_fifo()
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path, "page")
