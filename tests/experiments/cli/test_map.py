"""docs/map.md tells the way of one question: every file and name in it is there, in this order."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from shell import Shell

ROOT = Path(__file__).resolve().parents[3]
MAP = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
ROOMS = ROOT / "experiments"


def stations() -> list[tuple[Path, str]]:
    """Files and names of the numbered lines, in order."""
    found = []
    for line in re.findall(r"^\d+\. (.*)$", MAP, re.M):
        path = None
        for link, name in re.findall(r"\]\(\.\./([^)]+\.py)\)|`([A-Za-z_.]+)`", line):
            if link:
                path = ROOT / link
            elif path is not None and name != path.relative_to(ROOT).as_posix():
                found.append((path, name))
    return found


def thing(path: Path, name: str) -> Any:
    module = ".".join(("hardwire", *path.relative_to(ROOT).with_suffix("").parts))
    value = importlib.import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    return value


def test_ten_lines_of_files_and_names_that_exist() -> None:
    assert len(re.findall(r"^\d+\. ", MAP, re.M)) == 10
    for path, name in stations():
        if name != "config.yaml":
            assert thing(path, name).__module__.endswith(path.stem), (path, name)


def test_a_replay_goes_that_way(hardwire: Shell, tmp_path: Path) -> None:
    """What runs as Python is called for the first time in the order of the lines."""
    called: dict[CodeType, None] = {}

    def seen(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            called.setdefault(frame.f_code)

    sys.setprofile(seen)
    try:
        status, out, _ = hardwire(
            "replay", "azure-conv", "--requests", "20", "--adapters", "2", "--save", tmp_path / "o"
        )
    finally:
        sys.setprofile(None)
    assert status == 0 and "Saved in" in out
    plain = [
        (path, name)
        for path, name in stations()
        if name not in ("config.yaml", "ReplayOptions", "advance")  # a file, a table, compiled
    ]
    places = [
        (Path(code.co_filename).resolve(), code.co_qualname.removesuffix(".__init__"))
        for code in called
    ]
    assert [place for place in places if place in plain] == plain


def test_every_room_is_on_the_map() -> None:
    rooms = {path.name for path in ROOMS.iterdir() if (path / "__init__.py").is_file()}
    listed = set(re.findall(r"^\| \[`(\w+)`\]", MAP, re.M))
    assert listed == rooms - {"hardwire"}  # which is what `import hardwire` gives
